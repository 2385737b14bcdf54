"""The queue of jobs in the database, as workers of several processes use it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import sqlalchemy as sa

from invoke_svc.jobs.creation import complete
from invoke_svc.jobs.domain import End, Job, JobState, Kind, Outcome, RetryPolicy
from invoke_svc.jobs.hints import JobHints
from invoke_svc.jobs.lines import JobLines, Line
from invoke_svc.jobs.queue import JobQueue, Settlement
from invoke_svc.jobs.store import JobStore, Page
from invoke_svc.jobs.tables import jobs
from invoke_svc.jobs.worker import JobWorker, Timing
from invoke_svc.store import MIGRATIONS
from mesh.blobs import open_blobs
from mesh.db import Database
from tests.support.eventually import eventually

DONE = Outcome(End.DONE, status_code=200, result=b"1")
FAILED = Outcome(End.FAILED, "HANDLER_ERROR: It raised.")
POLICY = RetryPolicy(first_s=0.001, limit_s=0.001)


class Kit:
    """A database with queues over it, each as a process has one."""

    def __init__(self, database: Database, blobs: str) -> None:
        self.database = database
        self.store = JobStore(database)
        self.lines = JobLines(database, open_blobs(blobs))

    def queue(self, *, lease_s: float = 10.0, limit: int = 1000, policy: RetryPolicy = POLICY) -> JobQueue:
        return JobQueue(self.database, policy, lease_s=lease_s, workspace_limit=limit)

    async def add(
        self, count: int = 1, workspace: str = "ws-1", kind: Kind = Kind.FUNCTION, **more: object
    ) -> list[Job]:
        new = [
            complete(Job("", workspace, workspace[3:], kind, JobState.QUEUED, max_attempts=3, event=b"{}"))
            for _ in range(count)
        ]
        return await self.store.create([replace(job, **more) for job in new])  # type: ignore[arg-type]

    async def state(self, job: Job) -> JobState:
        found = await self.store.get(job.uid)
        assert found is not None
        return found.state

    async def expire_leases(self) -> None:
        async with self.database.write() as conn:
            await conn.execute(jobs.update().where(sa.text("state = 3")).values(lease_until=1.0))


@pytest.fixture
async def kit(database_url: str, tmp_path: object) -> AsyncIterator[Kit]:
    database = Database(database_url, schema="invoke")
    try:
        await database.migrate(MIGRATIONS)
        yield Kit(database, f"{tmp_path}/blobs")
    finally:
        await database.close()


async def test_jobs_are_claimed_once_and_oldest_first(kit: Kit) -> None:
    made = [job for _ in range(5) for job in await kit.add()]
    queue = kit.queue()
    first = await queue.claim("a", {Kind.FUNCTION: 3, Kind.SCRIPT: 1})
    second = await queue.claim("b", {Kind.FUNCTION: 3})
    assert [job.uid for job in [*first, *second]] == [job.uid for job in made]
    assert {(job.state, job.attempt, job.claim, job.owner) for job in first} == {(JobState.RUNNING, 1, 1, "a")}
    assert await queue.claim("c", {Kind.FUNCTION: 3}) == []


async def test_no_job_is_claimed_twice_by_workers_that_hurry(kit: Kit) -> None:
    made = await kit.add(200)
    claimed: list[str] = []

    async def hurry(owner: str) -> None:
        queue = kit.queue()
        for _ in range(100):
            found = await queue.claim(owner, {Kind.FUNCTION: 7})
            claimed.extend(job.uid for job in found)
            if not found and len(claimed) >= len(made):
                return

    async with asyncio.TaskGroup() as tasks:
        for number in range(4):
            tasks.create_task(hurry(f"w{number}"))
    assert sorted(claimed) == sorted(job.uid for job in made)


async def test_a_worker_that_lost_its_lease_writes_nothing_any_more(kit: Kit) -> None:
    await kit.add()
    queue = kit.queue()
    (old,) = await queue.claim("old", {Kind.FUNCTION: 1})
    await kit.expire_leases()
    assert await queue.recover() == 1
    assert await kit.state(old) is JobState.QUEUED
    assert await queue.keep("old") == {}

    async def claim_again() -> Job:
        while True:
            found = await queue.claim("new", {Kind.FUNCTION: 1})
            if found:
                return found[0]
            await asyncio.sleep(0.005)

    new = await asyncio.wait_for(claim_again(), 10)
    assert (new.attempt, new.claim) == (2, 2)
    await queue.settle([Settlement(old, DONE)])
    assert not await kit.lines.append(old, [Line(1, 1, "too late")])
    assert await kit.state(old) is JobState.RUNNING
    await queue.settle([Settlement(new, replace(DONE, result=b"2"))])
    await queue.settle([Settlement(old, FAILED)])
    found = await kit.store.get(old.uid)
    assert found is not None
    assert (found.state, found.result) == (JobState.SUCCESS, b"2")


async def test_a_job_that_is_lost_for_the_last_time_ends_with_the_reason(kit: Kit) -> None:
    (several,) = await kit.add(attempt=2)
    (single,) = await kit.add(max_attempts=1)
    queue = kit.queue()
    assert len(await queue.claim("a", {Kind.FUNCTION: 9})) == 2
    await kit.expire_leases()
    assert await queue.recover() == 2
    ended = [await kit.store.get(one.uid) for one in (several, single)]
    assert [one.state for one in ended if one] == [JobState.DEAD, JobState.FAILED]
    assert all(one and one.error.startswith("WORKER_LOST: ") and one.ended for one in ended)


async def test_a_lease_that_is_kept_is_not_taken_away(kit: Kit) -> None:
    (job,) = await kit.add()
    queue = kit.queue()
    await queue.claim("a", {Kind.FUNCTION: 1})
    await kit.expire_leases()
    assert await queue.keep("a") == {job.uid: (1, False)}
    assert await queue.recover() == 0


async def test_a_workspace_that_has_its_fill_does_not_stop_the_others(kit: Kit) -> None:
    many = await kit.add(30, "ws-many")
    few = await kit.add(2, "ws-few")
    queue = kit.queue(limit=4)
    claimed = await queue.claim("a", {Kind.FUNCTION: 20})
    assert sorted(job.workspace_uid for job in claimed) == ["ws-few"] * 2 + ["ws-many"] * 4
    assert {job.uid for job in few} < {job.uid for job in claimed}
    assert await queue.claim("b", {Kind.FUNCTION: 20}) == []
    await queue.settle([Settlement(job, DONE) for job in claimed if job.workspace_uid == "ws-many"])
    assert len(await queue.claim("b", {Kind.FUNCTION: 20})) == 4
    assert len(many) == 30


async def test_the_limit_of_a_workspace_holds_for_workers_that_hurry(kit: Kit) -> None:
    await kit.add(60, "ws-many")

    async def claim(owner: str) -> int:
        return len(await kit.queue(limit=10).claim(owner, {Kind.FUNCTION: 8}))

    taken = await asyncio.gather(*(claim(f"w{number}") for number in range(5)))
    assert sum(taken) == 10


async def test_cancelling_by_another_process(kit: Kit) -> None:
    waiting, runs = (await kit.add())[0], (await kit.add())[0]
    cancelled = await kit.store.cancel(waiting.uid)
    assert cancelled is not None
    assert cancelled.state is JobState.CANCELLED
    queue = kit.queue()
    (claimed,) = await queue.claim("a", {Kind.FUNCTION: 5})
    assert claimed.uid == runs.uid
    assert await queue.cancelled("a") == {}
    marked = await kit.store.cancel(runs.uid)
    assert marked is not None
    assert (marked.state, marked.cancel) == (JobState.RUNNING, True)
    assert await queue.cancelled("a") == {runs.uid: 1}
    assert await queue.keep("a") == {runs.uid: (1, True)}
    # Its worker has not looked yet and finds that it failed: it is not tried again.
    await queue.settle([Settlement(claimed, FAILED)])
    assert await kit.state(runs) is JobState.CANCELLED
    assert await kit.store.cancel(runs.uid) is None


async def test_dead_letters_are_listed_and_redriven_with_all_their_attempts(kit: Kit) -> None:
    (job,) = await kit.add(attempt=2)
    await kit.add(3)
    queue = kit.queue()
    claimed = {one.uid: one for one in await queue.claim("a", {Kind.FUNCTION: 5})}
    await queue.settle([Settlement(one, FAILED if one.uid == job.uid else DONE) for one in claimed.values()])
    (dead,) = await kit.store.page(Page(10, states=(JobState.DEAD,)))
    assert (dead.uid, dead.error) == (job.uid, FAILED.error)
    redriven = await kit.store.redrive(job.uid)
    assert redriven is not None
    assert (redriven.state, redriven.attempt, redriven.error) == (JobState.QUEUED, 0, "")
    assert await kit.store.redrive(job.uid) is None
    (again,) = await queue.claim("a", {Kind.FUNCTION: 5})
    assert (again.attempt, again.claim) == (1, 2)


async def test_what_was_not_begun_is_not_counted(kit: Kit) -> None:
    await kit.add(1)
    queue = kit.queue()
    (job,) = await queue.claim("a", {Kind.FUNCTION: 1})
    await queue.settle([Settlement(job, Outcome(End.NOT_BEGUN, "NO_INSTANCE: Nothing was ready."))])
    found = await kit.store.get(job.uid)
    assert found is not None
    assert (found.state, found.attempt, found.postponed, found.due > job.due) == (JobState.QUEUED, 0, 1, True)


async def test_a_request_id_makes_one_job_a_day(kit: Kit) -> None:
    (first,) = await kit.add(request_id="r1")
    (second,) = await kit.add(request_id="r1")
    (elsewhere,) = await kit.add(workspace="ws-2", request_id="r1")
    assert second.uid == first.uid != elsewhere.uid
    async with kit.database.write() as conn:
        await conn.execute(jobs.update().values(created=1.0))
    (later,) = await kit.add(request_id="r1")
    assert later.uid != first.uid


async def test_many_creations_of_one_request_id_at_once_make_one_job(kit: Kit) -> None:
    made = await asyncio.gather(*(kit.add(request_id="same") for _ in range(8)))
    assert len({job.uid for (job,) in made}) == 1


async def test_a_code_key_that_is_taken_is_said(kit: Kit) -> None:
    (first,) = await kit.add(kind=Kind.SCRIPT, code_key="p/00000000.py")
    (second,) = await kit.add(kind=Kind.SCRIPT, code_key="p/00000000.py")
    assert second.uid == first.uid


async def test_pages_by_workspace_and_state(kit: Kit) -> None:
    made = [job.uid for _ in range(3) for job in await kit.add(4)] + [job.uid for job in await kit.add(3, "ws-2")]
    seen: list[str] = []
    before = None
    while page := await kit.store.page(Page(4, before=before)):
        seen += [job.uid for job in page]
        before = page[-1].created, page[-1].uid
    assert sorted(seen) == sorted(made)
    assert seen[:3] != made[:3]
    assert len(await kit.store.page(Page(50, "ws-2"))) == 3
    assert len(await kit.store.page(Page(50, "ws-1", (JobState.QUEUED,)))) == 12
    assert await kit.store.page(Page(50, "", (JobState.SUCCESS, JobState.DEAD))) == []


async def test_lines_of_a_log_are_followed_and_archived(kit: Kit) -> None:
    (job,) = await kit.add(kind=Kind.SCRIPT, code_key="p/1.py", log_key="jobs/ws-1/1.log")
    queue = kit.queue()
    (mine,) = await queue.claim("a", {Kind.SCRIPT: 1})
    assert await kit.lines.append(mine, [Line(1, 1, "a", 5.0), Line(2, 2, "b", 6.0)])
    assert await kit.lines.append(mine, [Line(3, 1, "ü", 7.0)])
    assert await kit.lines.append(mine, [Line(3, 1, "ü", 7.0)]), "written again where that was in doubt"
    assert [(one.sequence, one.text) async for one in kit.lines.after(job, 1, ended=False)] == [(2, "b"), (3, "ü")]
    assert [piece async for piece in kit.lines.text(mine)] == ["a\nb\nü\n".encode()]
    await queue.settle([Settlement(mine, DONE)])
    await kit.lines.archive(mine)
    assert await kit.lines.ended_before(3600, 10) == []
    assert await kit.lines.ended_before(-1, 10) == [job.uid]
    await kit.lines.forget(job.uid)
    assert [(one.sequence, one.text) async for one in kit.lines.after(job, 1, ended=True)] == [(2, "b"), (3, "ü")]
    assert [piece async for piece in kit.lines.text(mine)] == ["a\nb\nü\n".encode()]


class Stuck:
    """A runner whose jobs never end by themselves."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.stopped = 0

    async def run(self, job: Job) -> Outcome:
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped += 1
        return DONE


def worker(kit: Kit, runner: Stuck, **more: float) -> JobWorker:
    timing = Timing(lease_s=more.get("lease_s", 10.0), poll_s=0.02, cancel_poll_s=0.02)
    return JobWorker(kit.queue(lease_s=timing.lease_s), {Kind.FUNCTION: runner}, {Kind.FUNCTION: 5}, JobHints(), timing)


async def test_what_is_under_way_when_a_worker_stops_says_so(kit: Kit) -> None:
    (several,), (single,) = await kit.add(), await kit.add(max_attempts=1)
    runner = Stuck()
    async with worker(kit, runner).running(0.01):
        await eventually(lambda: runner.began.is_set())

        async def both() -> bool:
            return [await kit.state(one) for one in (several, single)] == [JobState.RUNNING] * 2

        await eventually(both)
    assert runner.stopped == 2
    assert [await kit.state(one) for one in (several, single)] == [JobState.QUEUED, JobState.FAILED]
    found = await kit.store.get(single.uid)
    assert found is not None
    assert found.error == "WORKER_STOPPED: The mesh was stopped while the job ran."


async def test_a_worker_drops_a_job_that_was_taken_from_it(kit: Kit) -> None:
    (job,) = await kit.add()
    runner = Stuck()
    async with worker(kit, runner, lease_s=0.3).running(0.01):
        await eventually(lambda: runner.began.is_set())
        async with kit.database.write() as conn:
            await conn.execute(jobs.update().values(claim=7, owner="another", lease_until=9e12))
        await eventually(lambda: runner.stopped == 1)
    found = await kit.store.get(job.uid)
    assert found is not None
    assert (found.state, found.claim, found.owner) == (JobState.RUNNING, 7, "another")


async def test_a_worker_hears_of_a_cancellation_by_another_process(kit: Kit) -> None:
    (job,) = await kit.add()
    runner = Stuck()
    async with worker(kit, runner).running(0.01):
        await eventually(lambda: runner.began.is_set())
        await kit.store.cancel(job.uid)

        async def cancelled() -> bool:
            return await kit.state(job) is JobState.CANCELLED

        await eventually(cancelled)
        assert runner.stopped == 1


async def test_a_long_queue_of_a_full_workspace_is_not_read(kit: Kit) -> None:
    """What claiming looks at does not grow with the queue: the plan goes by the indexes made for it."""
    for _ in range(4):
        await kit.add(500, "ws-many")
    await kit.add(1, "ws-few")
    queue = kit.queue(limit=1)
    assert len(await queue.claim("a", {Kind.FUNCTION: 10})) == 2
    async with kit.database.write() as conn:
        await conn.execute(sa.text("ANALYZE"))
        explain = "EXPLAIN QUERY PLAN " if kit.database.is_sqlite else "EXPLAIN "
        query = (
            "SELECT uid, workspace_uid FROM jobs WHERE state = 2 AND kind = 1 AND due <= 9e12 ORDER BY due, uid LIMIT 5"
        )
        plan = "\n".join(str(row) for row in await conn.execute(sa.text(explain + query)))
    assert "jobs_queue" in plan
    assert "SORT" not in plan.upper() and "TEMP B-TREE" not in plan.upper()
