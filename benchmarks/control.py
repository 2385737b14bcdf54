"""What control calls cost: over REST against the gRPC call behind it, and the last page of a long listing against the
first one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial

from benchmarks.lane import deploy_reference, load
from benchmarks.mesh_process import RunningMesh, running_mesh
from benchmarks.report import Row, at_most
from benchmarks.turns import Plan, in_turns, median, ratios, spread
from fnmesh.client import AsyncMesh
from fnmesh.invoke.v1 import invoke_service_pb2 as pb
from fnmesh.invoke.v1.invoke_service_pb2_grpc import InvokeServiceStub
from invoke_svc.domain import Run, Trigger
from invoke_svc.identity import new_run_uid
from invoke_svc.store import MIGRATIONS, SqlExecutionStore
from mesh.db import Database

EXECUTIONS = 100_000
_PAGE = 100
_BATCH = 1000
_FUNCTION = "workspaces/default/functions/reference"


def measure(plan: Plan) -> list[Row]:
    """A mesh with one function that ran often."""
    with running_mesh({"FNMESH_INVOKE_EXECUTIONS_KEPT": str(2 * EXECUTIONS)}) as mesh:
        deploy_reference(mesh)
        return [*_calls(plan, mesh), *_pages(plan, mesh)]


def _calls(plan: Plan, mesh: RunningMesh) -> list[Row]:
    job = mesh.fnmesh("job", "run", "--function", "reference", "--wait")["uid"]
    twins: dict[str, tuple[str, Callable[[AsyncMesh], Awaitable[object]]]] = {
        "GET /api/jobs/{job}, GetJob": (f"/api/jobs/{job}", lambda client: client.jobs.get(job)),
        "GET /callbacks/{id}, GetFunction": ("/callbacks/1", lambda client: client.show("reference")),
        "GET .../functions/{fn}, GetFunction": (
            "/api/workspaces/default/functions/reference",
            lambda client: client.show("reference"),
        ),
    }
    rows, seconds = [], plan.seconds / 4
    for what, (path, call) in twins.items():
        ways = {"rest": partial(_rest_p50_ms, mesh, path, seconds), "grpc": partial(_p50_ms, mesh, call, seconds)}
        cost = in_turns(ways, plan.rounds)
        share = ratios(cost["rest"], cost["grpc"])
        rows.append(
            at_most(
                f"{what}: REST ÷ gRPC, p50 at 1 connection",
                median(share),
                3,
                f"{spread(share)}; {median(cost['rest']):.2f} and {median(cost['grpc']):.2f} ms",
            )
        )
    return rows


def _rest_p50_ms(mesh: RunningMesh, path: str, seconds: float) -> float:
    run = load(mesh.address, path, 1, seconds)
    if run["errors"]:
        raise RuntimeError(f"{path} was not answered with 200")
    return run["p50_ms"]


def _p50_ms(mesh: RunningMesh, call: Callable[[AsyncMesh], Awaitable[object]], seconds: float) -> float:
    async def again_and_again() -> float:
        took = []
        async with AsyncMesh(mesh.address) as client:
            await call(client)
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                began = time.perf_counter()
                await call(client)
                took.append(time.perf_counter() - began)
        return median(took) * 1000

    return asyncio.run(again_and_again())


def _pages(plan: Plan, mesh: RunningMesh) -> list[Row]:
    uid = mesh.fnmesh("show", "reference")["function"]["uid"]
    asyncio.run(record(invoke_database(mesh), uid))
    last = asyncio.run(_last_token(mesh))
    pages = {
        "first": partial(_page_ms, mesh, "", plan.seconds / 4),
        "last": partial(_page_ms, mesh, last, plan.seconds / 4),
    }
    cost = in_turns(pages, plan.rounds)
    share = ratios(cost["last"], cost["first"])
    return [
        at_most(
            f"{EXECUTIONS:,} executions, pages of {_PAGE}: the last ÷ the first",
            median(share),
            1.5,
            f"{spread(share)}; {median(cost['last']):.2f} and {median(cost['first']):.2f} ms",
        )
    ]


def invoke_database(mesh: RunningMesh) -> str:
    """The URL of the database of a mesh's invoke_svc."""
    return f"sqlite+aiosqlite:///{mesh.place.root}/data/db/invoke.db"


async def record(url: str, function_uid: str) -> float:
    """Puts records of runs where invoke_svc puts them, with its tables there first; returns how many a second."""
    database = Database(url, schema="invoke")
    try:
        await database.migrate(MIGRATIONS)
        store, began, clock = SqlExecutionStore(database), time.time() - EXECUTIONS / 1000, time.monotonic()
        for batch in range(EXECUTIONS // _BATCH):
            at = began + batch * _BATCH / 1000
            runs = [
                Run(new_run_uid(at + n / 1000), Trigger.HTTP, at + n / 1000, "0" * 32, "GET /api/reference",
                    function_uid=function_uid, revision=1, instance="in-1", duration_s=0.001, status=200)
                for n in range(_BATCH)
            ]  # fmt: skip
            await store.append(runs)
        return EXECUTIONS / (time.monotonic() - clock)
    finally:
        await database.close()


async def _last_token(mesh: RunningMesh) -> str:
    """The token of the last page that is full."""
    async with AsyncMesh(mesh.address) as client:
        stub, token, before = InvokeServiceStub(client._connection.channel), "", ""
        while True:
            page = await stub.ListExecutions(
                pb.ListExecutionsRequest(parent=_FUNCTION, page_size=_PAGE, page_token=token)
            )
            if len(page.executions) == _PAGE:
                before = token
            if not page.next_page_token:
                return before
            token = page.next_page_token


def _page_ms(mesh: RunningMesh, token: str, seconds: float) -> float:
    async def page(client: AsyncMesh) -> object:
        request = pb.ListExecutionsRequest(parent=_FUNCTION, page_size=_PAGE, page_token=token)
        return await InvokeServiceStub(client._connection.channel).ListExecutions(request)

    return _p50_ms(mesh, page, seconds)
