"""A thousand jobs, workers killed at random: none is lost, none is done by two at once, each ends."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import sqlalchemy as sa

from invoke_svc.jobs.creation import complete
from invoke_svc.jobs.domain import Job, JobState, Kind
from invoke_svc.jobs.rows import to_job
from invoke_svc.jobs.store import JobStore
from invoke_svc.jobs.tables import jobs
from invoke_svc.store import MIGRATIONS
from mesh.db import Database

ROOT = Path(__file__).parents[3]
JOBS, WORKERS, KILLS = 1000, 3, 10


class Workers:
    """Processes that are started again when they are killed."""

    def __init__(self, url: str, log: Path, stack: ExitStack) -> None:
        self._url, self._log = url, log
        self._running: list[subprocess.Popen[bytes]] = []
        stack.callback(self._end)

    def fill(self) -> None:
        while len(self._running) < WORKERS:
            paths = os.pathsep.join(str(ROOT / part) for part in ("", "protos", "client"))
            self._running.append(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.support.job_worker_process", self._url, str(self._log)],
                    env={**os.environ, "PYTHONPATH": paths},
                    cwd=ROOT,
                    stderr=subprocess.DEVNULL,
                )
            )

    def kill_one(self, chance: random.Random) -> None:
        victim = self._running.pop(chance.randrange(len(self._running)))
        victim.kill()
        victim.wait()

    def _end(self) -> None:
        for one in self._running:
            one.kill()
            one.wait()


async def counts(database: Database) -> Counter[JobState]:
    async with database.read() as conn:
        rows = await conn.execute(sa.select(jobs.c.state, sa.func.count()).group_by(jobs.c.state))
        return Counter({JobState(state): count for state, count in rows})


def lines_of(log: Path) -> Iterator[tuple[str, str, int]]:
    for line in log.read_text().splitlines():
        what, uid, claim = line.split()
        yield what, uid, int(claim)


async def test_a_thousand_jobs_with_workers_killed_at_random(database_url: str, tmp_path: Path) -> None:
    chance = random.Random(7)
    log = tmp_path / "log"
    log.touch()
    database = Database(database_url, schema="invoke")
    with ExitStack() as stack:
        try:
            await database.migrate(MIGRATIONS)
            store = JobStore(database)
            workers = Workers(database_url, log, stack)
            workers.fill()
            new = [
                complete(Job("", "ws-1", "default", Kind.FUNCTION, JobState.QUEUED, max_attempts=50 if n % 2 else 1))
                for n in range(JOBS)
            ]
            kills, at, grown = 0, 0, 0
            async with asyncio.timeout(150):
                while at < JOBS or sum(n for state, n in (await counts(database)).items() if state.ended) < JOBS:
                    at += len(await store.create(new[at : at + 20]) if at < JOBS else [])
                    # Only in the middle of work: when some has begun since the last kill.
                    if kills < KILLS and log.stat().st_size > grown + 2000:
                        await asyncio.to_thread(workers.kill_one, chance)
                        kills, grown = kills + 1, log.stat().st_size
                    workers.fill()
                    await asyncio.sleep(0.05)
            async with database.read() as conn:
                ended = [to_job(row._mapping) for row in await conn.execute(sa.select(jobs))]
        finally:
            await database.close()
    assert kills >= KILLS // 2
    assert len(ended) == JOBS, "no acknowledged job is lost"
    assert {job.uid for job in ended} == {job.uid for job in new}
    by_uid = {job.uid: job for job in ended}
    several = [job for job in ended if job.max_attempts > 1]
    single = [job for job in ended if job.max_attempts == 1]
    assert {job.state for job in several} == {JobState.SUCCESS}, "attempts were left"
    assert {job.state for job in single} <= {JobState.SUCCESS, JobState.FAILED}
    assert all(job.error.startswith("WORKER_LOST") for job in single if job.state is JobState.FAILED)
    began = Counter(uid for what, uid, _ in lines_of(log) if what == "began")
    assert all(began[job.uid] <= 1 for job in single), "one attempt is one"
    claims = Counter((uid, claim) for what, uid, claim in lines_of(log) if what == "began")
    assert max(claims.values()) == 1, "no claim was worked on twice"
    done = {(uid, claim) for what, uid, claim in lines_of(log) if what == "ended"}
    for job in ended:
        if job.state is JobState.SUCCESS:
            assert (job.uid, int(job.result)) in done
            assert int(job.result) == job.claim, "the last claim wrote it, and no earlier one"
    again = sum(1 for uid, count in began.items() if count > 1 and by_uid[uid].max_attempts > 1)
    assert again + sum(job.state is JobState.FAILED for job in single) > 0, "nobody was killed in the middle of a job"
