"""What a job costs: its way through the queue against a direct invoke of the same function, and claiming from a long
queue against an empty one. On SQLite, and on PostgreSQL where the machine has it.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial

from benchmarks.lane import deploy_reference
from benchmarks.mesh_process import RunningMesh, running_mesh
from benchmarks.postgres import PostgresError, postgres_server
from benchmarks.report import Row, at_least, at_most
from benchmarks.turns import Plan, in_turns, median, ratios, spread
from fnmesh.client import AsyncMesh
from invoke_svc.jobs.creation import complete
from invoke_svc.jobs.domain import End, Job, JobState, Kind, Outcome, RetryPolicy
from invoke_svc.jobs.queue import JobQueue, Settlement
from invoke_svc.jobs.store import JobStore
from invoke_svc.store import MIGRATIONS
from mesh.db import Database

AT_ONCE = 32
QUEUED = 100_000
_CLAIMED = 64
_CLAIMS = 5  # in a measurement
_BATCH = 1000
_POLICY = RetryPolicy()


def measure(plan: Plan) -> list[Row]:
    """On each database in turn."""
    rows: list[Row] = []
    for name in ("SQLite", "PostgreSQL"):
        try:
            with _databases(name) as urls:
                rows += [*_rates(plan, name, urls[0]), *_claims(plan, name, urls[1:])]
        except PostgresError as error:
            rows.append(Row(f"jobs on {name}", f"not measured: {error}"))
    return rows


@contextmanager
def _databases(name: str) -> Iterator[Sequence[str]]:
    """The URLs of three empty databases; the first one is empty for SQLite: the mesh makes its own files."""
    with ExitStack() as stack:
        if name == "SQLite":
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="fnm-bench-"))
            yield "", *(f"sqlite+aiosqlite:///{scratch}/{one}.db" for one in ("empty", "full"))
            return
        server = stack.enter_context(postgres_server())
        yield [stack.enter_context(server.database()) for _ in range(3)]


def _rates(plan: Plan, name: str, url: str) -> list[Row]:
    with running_mesh({"FNMESH_DATABASE_URL": url} if url else {}) as mesh:
        deploy_reference(mesh)
        ways = {"direct": partial(_direct, mesh, plan.seconds), "jobs": partial(_jobs, mesh, plan.seconds)}
        for way in ways.values():  # warm up
            way()
        rate = in_turns(ways, plan.rounds)
    share = ratios(rate["jobs"], rate["direct"])
    return [
        Row(f"direct invokes over gRPC, {AT_ONCE} at once, {name}", f"{median(rate['direct']):,.0f} a second"),
        Row(f"jobs of the same function, made and ended, {name}", f"{median(rate['jobs']):,.0f} a second"),
        at_least(f"jobs ÷ direct invokes, {name}", median(share), 0.3, spread(share)),
    ]


def _direct(mesh: RunningMesh, seconds: float) -> float:
    async def all_of_them() -> float:
        async with AsyncMesh(mesh.address) as client:

            async def one() -> None:
                answer = await client.invoke("reference", {})
                if answer.status != 200:
                    raise RuntimeError(f"the function answered {answer.status}")

            began = time.perf_counter()
            return await _until(began + seconds, one) / (time.perf_counter() - began)

    return asyncio.run(all_of_them())


def _jobs(mesh: RunningMesh, seconds: float) -> float:
    """From the first job made to the end of the last one."""

    async def all_of_them() -> float:
        async with AsyncMesh(mesh.address) as client:

            async def one() -> None:
                await client.jobs.run("reference", {})

            began = time.perf_counter()
            count = await _until(began + seconds, one)
            while await client.jobs.list(states=["queued", "running"], limit=1):  # noqa: ASYNC110 -- nothing tells
                await asyncio.sleep(0.02)
            return count / (time.perf_counter() - began)

    return asyncio.run(all_of_them())


async def _until(end: float, call: Callable[[], Awaitable[None]]) -> int:
    """Calls, some at once, until then; how often."""
    count = 0

    async def again_and_again() -> None:
        nonlocal count
        while time.perf_counter() < end:
            await call()
            count += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(again_and_again())
    return count


def _claims(plan: Plan, name: str, urls: Sequence[str]) -> list[Row]:
    with asyncio.Runner() as runner:
        queues = {"empty": _Queue(urls[0]), "full": _Queue(urls[1])}
        try:
            for queue in queues.values():
                runner.run(queue.open())
            runner.run(queues["full"].fill(QUEUED))
            ways = {which: partial(_claim_ms, runner, queue) for which, queue in queues.items()}
            in_turns(ways, _CLAIMS)  # warm up
            cost = in_turns(ways, plan.rounds * _CLAIMS)
        finally:
            for queue in queues.values():
                runner.run(queue.close())
    what, share = f"claiming {_CLAIMED} jobs, {name}", ratios(cost["full"], cost["empty"])
    shown = f"{median(cost['empty']):.2f} and {median(cost['full']):.2f} ms"
    return [
        Row(f"{what}: from an empty queue, from {QUEUED:,}", shown),
        at_most(f"{what}: {QUEUED:,} ÷ empty", median(share), 1.5, spread(share)),
    ]


def _claim_ms(runner: asyncio.Runner, queue: _Queue) -> float:
    return runner.run(queue.claim_ms())


class _Queue:
    """A queue of jobs, and a worker of it that settles what it claims."""

    def __init__(self, url: str) -> None:
        self._database = Database(url, schema="invoke")
        self._store = JobStore(self._database)
        self._queue = JobQueue(self._database, _POLICY, lease_s=600, workspace_limit=10 * _CLAIMED)

    async def open(self) -> None:
        await self._database.migrate(MIGRATIONS)

    async def close(self) -> None:
        await self._database.close()

    async def fill(self, count: int) -> None:
        """Puts so many jobs into it."""
        for _ in range(count // _BATCH):
            await self._store.create([_job() for _ in range(_BATCH)])

    async def claim_ms(self) -> float:
        """One claim, of jobs that are there for it: as many as it takes are put in before."""
        await self._store.create([_job() for _ in range(_CLAIMED)])
        began = time.perf_counter()
        claimed = await self._queue.claim("worker", {Kind.FUNCTION: _CLAIMED, Kind.SCRIPT: 4})
        took = time.perf_counter() - began
        if len(claimed) != _CLAIMED:
            raise RuntimeError(f"{len(claimed)} jobs were claimed")
        await self._queue.settle([Settlement(job, Outcome(End.DONE, status_code=200)) for job in claimed])
        return took * 1000


def _job() -> Job:
    job = Job("", "ws-1", "default", Kind.FUNCTION, JobState.QUEUED, function_uid="fn-1", max_attempts=3, event=b"{}")
    return replace(complete(job), due=0.0)
