"""What 1,000 and 10,000 registered functions change: how soon one more serves, and what a request costs.

Both meshes run at the same time, and are asked in turns.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
import timeit
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.lane import PATH, deploy_reference, load
from benchmarks.mesh_process import RunningMesh, running_mesh
from benchmarks.probe import first_200
from benchmarks.report import Row, at_most
from benchmarks.turns import Plan, in_turns, median, ratios, spread
from fnmesh.client import AsyncMesh, Mesh
from fnmesh.registry.v1 import function_pb2
from fnmesh.registry.v1 import registry_service_pb2 as pb
from fnmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from invoke_svc.domain import Route
from invoke_svc.routes import RouteTable

COUNTS = (1_000, 10_000)
_AT_ONCE = 8
_SHORT = 4  # so many times more rounds of what is measured quickly and differs by little
_SOURCE = 'def handler(event):\n    return {"statusCode": 200, "body": "hello"}\n'


def measure(plan: Plan) -> list[Row]:
    """One function more, then requests to a function that was there before."""
    with ExitStack() as stack:
        meshes = {count: stack.enter_context(running_mesh()) for count in COUNTS}
        for count, mesh in meshes.items():
            deploy_reference(mesh)
            asyncio.run(register(mesh, count))
        late = in_turns({str(count): partial(_lateness_ms, mesh) for count, mesh in meshes.items()}, plan.rounds)
        one = {str(n): partial(load, mesh.address, PATH, 1, plan.seconds / 4) for n, mesh in meshes.items()}
        asked = in_turns(one, plan.rounds * _SHORT)
    few, many = map(str, COUNTS)
    lookups = in_turns({str(count): partial(_lookup_us, _table(count)) for count in COUNTS}, plan.rounds * _SHORT)
    rows = [
        at_most(
            f"{int(count):,} functions, one more: first 200 after READY", max(found), 100, f"{spread(found)} ms", "ms"
        )
        for count, found in late.items()
    ]
    p50 = {count: [run["p50_ms"] for run in runs] for count, runs in asked.items()}
    for what, cost, unit in (("p50 of a request", p50, "ms"), ("lookup of a route", lookups, "µs")):
        share = ratios(cost[many], cost[few])
        rows.append(
            Row(f"{what}, 1,000 and 10,000 functions", f"{median(cost[few]):.2f} and {median(cost[many]):.2f} {unit}")
        )
        rows.append(at_most(f"{what}: 10,000 ÷ 1,000", median(share), 1.2, spread(share)))
    return rows


async def register(mesh: RunningMesh, count: int) -> None:
    """Registers so many functions, which are not deployed."""
    async with AsyncMesh(mesh.address) as client:
        registry = RegistryServiceStub(client._connection.channel)
        numbers = iter(range(count))

        async def some() -> None:
            for number in numbers:
                function = function_pb2.Function(
                    display_name=f"registered-{number}", runtime=function_pb2.RUNTIME_PYTHON
                )
                await registry.CreateFunction(
                    pb.CreateFunctionRequest(parent="workspaces/default", function=function), timeout=60
                )

        async with asyncio.TaskGroup() as tasks:
            for _ in range(_AT_ONCE):
                tasks.create_task(some())


def _lateness_ms(mesh: RunningMesh) -> float:
    """Deploys a function; how long after its client has heard of READY a request is answered with 200."""
    with tempfile.TemporaryDirectory() as scratch, Mesh(mesh.address) as client:
        (Path(scratch) / "handler.py").write_text(_SOURCE)
        client.deploy(scratch, name="one-more", target="process").wait()
        ready = time.time()
        answered = first_200(mesh.address, "/api/one-more")
        client.delete("one-more")
    return (answered - ready) * 1000


def _table(count: int) -> RouteTable:
    table = RouteTable()
    table.synced = True
    for number in range(count):
        path = f"registered-{number}"
        table.put(Route(f"fn-{number}", f"f/{number}", "ws", path, "default", path, frozenset(), 1, 30.0))
    return table


def _lookup_us(table: RouteTable) -> float:
    """One lookup, of functions all over the table."""
    paths = [f"/api/registered-{number}" for number in range(0, len(table), len(table) // 1000)]

    def all_of_them() -> None:
        for path in paths:
            table.find(path, "GET")

    return min(timeit.repeat(all_of_them, number=3, repeat=5)) / 3 / len(paths) * 1e6
