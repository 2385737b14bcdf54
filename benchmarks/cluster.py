"""1,000 functions on a cluster: what a deploy_svc that comes back does there, and what it takes.

The cluster is the stand-in of the tests, in this process. A real one is asked just as often; how quickly it answers is
another matter.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from benchmarks.memory import proportional_bytes
from benchmarks.report import Row, at_most
from benchmarks.turns import Plan, median, spread
from fnmesh.registry.v1 import function_pb2
from mesh.errors import MeshError
from tests.support.cluster_target import TestCluster, app, deploying, fake_cluster
from tests.support.deploy_harness import Client, DeployHarness
from tests.support.kubernetes import FakeKubernetes
from tests.support.kubernetes.faults import WRITES

FUNCTIONS = 1000
_PATIENCE_S = 300.0
_KINDS = ("deployments", "pods", "endpointslices")
_MIB = 1024 * 1024


def measure(plan: Plan) -> list[Row]:
    """Deploys them once, then starts deploy_svc anew in each round."""
    with tempfile.TemporaryDirectory(prefix="fnm-bench-") as scratch, fake_cluster(Path(scratch)) as cluster:
        return asyncio.run(_measured(cluster, plan))


async def _measured(cluster: TestCluster, plan: Plan) -> list[Row]:
    assert cluster.fake is not None
    took, writes, memory, lists, watches = [], [], [], [], []
    async with deploying(cluster) as mesh, mesh.running_registry():
        for number in range(FUNCTIONS):
            await _want(mesh, cluster, number)
        mesh.spawn()
        first_s = await _all_ready(mesh)
        for number in range(plan.rounds):
            mesh.kill()
            cluster.fake.requests.reset()
            child = mesh.spawn()
            took.append(await _pass_s(mesh, cluster, number))
            writes.append(_unasked(cluster.fake))
            memory.append(proportional_bytes(child.pid) / _MIB)
            lists.append(sum(cluster.fake.requests.count("list", kind) for kind in _KINDS))
            watches.append(sum(cluster.fake.requests.count("watch", kind) for kind in _KINDS))
        mesh.kill()
    return [
        Row(f"{FUNCTIONS:,} functions deployed to a cluster for the first time", f"{first_s:.1f} s"),
        at_most(f"{FUNCTIONS:,} unchanged functions: writes to the API", max(writes), 1, f"{max(writes)}"),
        at_most(f"{FUNCTIONS:,} unchanged functions: looked at", median(took), 5, f"{spread(took)} s", "s"),
        Row(
            f"{FUNCTIONS:,} functions: lists and watches of {len(_KINDS)} kinds",
            f"{median(lists):.0f} and {median(watches):.0f}",
        ),
        at_most(
            f"{FUNCTIONS:,} functions: deploy_svc (PSS)", max(memory), 150, f"{spread(memory, '{:.0f}')} MiB", "MiB"
        ),
    ]


async def _want(mesh: DeployHarness, cluster: TestCluster, number: int, prefix: str = "f") -> str:
    uid = f"fn-{prefix}{number:011d}"
    await mesh.want(uid, 1, app(), cluster=cluster.settings(app_name=f"{prefix}-{number}"))
    return uid


async def _all_ready(mesh: DeployHarness) -> float:
    began = time.monotonic()
    ready: set[str] = set()
    seen = 0
    while len(ready) < FUNCTIONS:
        for report in mesh.registry.reports[seen:]:
            seen += 1
            if report.state == function_pb2.DEPLOYMENT_STATE_READY:
                ready.add(report.function_uid)
        if time.monotonic() - began > _PATIENCE_S:
            raise TimeoutError(f"{len(ready)} of {FUNCTIONS} functions came up.")
        await asyncio.sleep(0.05)
    return time.monotonic() - began


async def _pass_s(mesh: DeployHarness, cluster: TestCluster, number: int) -> float:
    """From where deploy_svc answers until one function more, which waits its turn behind all others, is READY."""
    async with mesh.client() as client:
        until = time.monotonic() + 60
        while not await _answers(client):
            if time.monotonic() > until:
                raise TimeoutError("deploy_svc did not start.")
            await asyncio.sleep(0.01)
        began = time.monotonic()
        uid = await _want(mesh, cluster, number, "m")
        await client.until(uid, function_pb2.DEPLOYMENT_STATE_READY, 1, _PATIENCE_S)
        return time.monotonic() - began


async def _answers(client: Client) -> bool:
    try:
        await client.deployment("fn-f00000000000")
    except MeshError:
        return False
    return True


def _unasked(fake: FakeKubernetes) -> int:
    """Writes to objects of functions that did not change."""
    asked = fake.requests.all()
    return sum(one.verb in WRITES and one.name.startswith("f-") and not one.dry_run for one in asked)
