"""Jobs as those see them who make them, look at them and change their minds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from invoke_svc.jobs.domain import Job, JobState, Kind
from invoke_svc.jobs.rows import COLUMNS, SHORT_COLUMNS, database_now, to_job, to_row
from invoke_svc.jobs.tables import job_lines, jobs
from mesh.db import Database

_REQUEST_ID_LIVES_S = 86_400.0
_INSERT = sa.text(
    f"INSERT INTO jobs ({', '.join(COLUMNS)}) "  # noqa: S608 -- names of columns only
    f"VALUES ({', '.join(':' + name for name in COLUMNS)}) ON CONFLICT DO NOTHING"
)


@dataclass(frozen=True, slots=True)
class Page:
    """What of a listing is wanted: at most `size` jobs older than `before` (created, uid), newest first.

    `workspace` empty means all; `states` empty means all.
    """

    size: int
    workspace: str = ""
    states: tuple[JobState, ...] = ()
    before: tuple[float, str] | None = None


class JobStore:
    """The table of jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, new: Sequence[Job]) -> list[Job]:
        """Stores jobs in one transaction, and answers with what is there: for a request id that was used within a
        day the job it made then. The result lacks one whose code_key is taken: its uid is another's, then.
        """
        return await self._database.transaction(lambda conn: insert_jobs(conn, new), in_turn=False)

    async def requested(self, workspace_uid: str, request_id: str) -> Job | None:
        """The job that was made with a request id within a day, whole."""
        async with self._database.read() as conn:
            since = await database_now(conn) - _REQUEST_ID_LIVES_S
            same = (jobs.c.workspace_uid == workspace_uid) & (jobs.c.request_id == request_id)
            row = (await conn.execute(sa.select(jobs).where(same, jobs.c.created >= since))).one_or_none()
        return None if row is None else to_job(row._mapping)

    async def get(self, uid: str) -> Job | None:
        """One job, whole."""
        async with self._database.read() as conn:
            row = (await conn.execute(sa.select(jobs).where(jobs.c.uid == uid))).one_or_none()
        return None if row is None else to_job(row._mapping)

    async def state_of(self, uid: str) -> tuple[JobState, int] | None:
        """State and version of a job: what a watcher asks for again and again."""
        async with self._database.read() as conn:
            row = (await conn.execute(sa.select(jobs.c.state, jobs.c.version).where(jobs.c.uid == uid))).one_or_none()
        return None if row is None else (JobState(row[0]), int(row[1]))

    async def page(self, page: Page) -> list[Job]:
        """A page of a listing, without events and results."""
        query = sa.select(*SHORT_COLUMNS)
        if page.workspace:
            query = query.where(jobs.c.workspace_uid == page.workspace)
        if page.states:
            query = query.where(jobs.c.state.in_([int(state) for state in page.states]))
            if JobState.SUCCESS not in page.states:
                query = query.where(sa.text("state <> 4"))  # as the index has it
        if page.before is not None:
            query = query.where(sa.tuple_(jobs.c.created, jobs.c.uid) < page.before)
        query = query.order_by(jobs.c.created.desc(), jobs.c.uid.desc()).limit(page.size)
        async with self._database.read() as conn:
            return [to_job(row._mapping) for row in await conn.execute(query)]

    async def counts(self, workspace: str) -> dict[str, int]:
        """How many jobs there are by workspace; of one only where it is named."""
        query = sa.select(jobs.c.workspace_uid, sa.func.count()).group_by(jobs.c.workspace_uid)
        if workspace:
            query = query.where(jobs.c.workspace_uid == workspace)
        async with self._database.read() as conn:
            return {uid: int(count) for uid, count in await conn.execute(query)}

    async def waiting(self, workspace_uid: str, most: int) -> int:
        """How many jobs of a workspace are in the queue, counted up to `most`."""
        kinds = [int(kind) for kind in Kind]  # as the index has them
        mine = sa.select(jobs.c.uid).where(
            sa.text("state = 2"), jobs.c.kind.in_(kinds), jobs.c.workspace_uid == workspace_uid
        )
        async with self._database.read() as conn:
            query = sa.select(sa.func.count()).select_from(mine.limit(most).subquery())
            return int((await conn.execute(query)).scalar_one())

    async def start(self, uid: str, event: bytes | None, timeout_s: float | None) -> Job | None:
        """Puts a PENDING job into the queue; None where it is not PENDING."""

        def change(now: float) -> dict[str, Any]:
            values: dict[str, Any] = {"state": JobState.QUEUED, "due": now, "queued_at": now}
            if event is not None:
                values["event"] = event
            if timeout_s is not None:
                values["timeout_s"] = timeout_s
            return values

        return await self._change(uid, change, JobState.PENDING)

    async def redrive(self, uid: str) -> Job | None:
        """Puts a job that has ended without success into the queue again; None where it is in another state."""
        ended = [state for state in JobState if state.redrivable]
        return await self._change(
            uid,
            lambda now: {
                "state": JobState.QUEUED, "due": now, "queued_at": now, "attempt": 0, "postponed": 0,
                "cancel": False, "ended": 0.0, "error": "", "exit_code": None, "status_code": 0,
            },
            *ended,
        )  # fmt: skip

    async def cancel(self, uid: str) -> Job | None:
        """Cancels a job that waits, and has the worker of one that runs told; None where it has ended."""
        waiting = (JobState.PENDING, JobState.QUEUED)
        ended = await self._change(uid, lambda now: {"state": JobState.CANCELLED, "ended": now}, *waiting)
        return ended or await self._change(uid, lambda now: {"cancel": True}, JobState.RUNNING)

    async def _change(self, uid: str, values: Any, *states: JobState) -> Job | None:
        async def change(conn: AsyncConnection) -> Job | None:
            now = await database_now(conn)
            query = (
                jobs.update()
                .where(jobs.c.uid == uid, jobs.c.state.in_([int(state) for state in states]))
                .values(**values(now), updated=now, version=jobs.c.version + 1)
                .returning(*jobs.c)
            )
            row = (await conn.execute(query)).one_or_none()
            return None if row is None else to_job(row._mapping)

        return await self._database.transaction(change, in_turn=False)

    async def expired(self, older_than_s: float, limit: int) -> list[Job]:
        """Jobs that ended, or were made and never started, so long ago, as many as fit."""
        async with self._database.read() as conn:
            before = await database_now(conn) - older_than_s
            over = sa.or_(jobs.c.state >= int(JobState.SUCCESS), jobs.c.state == int(JobState.PENDING))
            query = sa.select(*SHORT_COLUMNS).where(jobs.c.created < before, jobs.c.updated < before, over)
            query = query.order_by(jobs.c.created).limit(limit)
            return [to_job(row._mapping) for row in await conn.execute(query)]

    async def delete(self, uids: Sequence[str]) -> None:
        """Forgets jobs that do not run."""

        async def drop(conn: AsyncConnection) -> None:
            await conn.execute(job_lines.delete().where(job_lines.c.uid.in_(uids)))
            await conn.execute(jobs.delete().where(jobs.c.uid.in_(uids), sa.text("state NOT IN (2, 3)")))

        await self._database.transaction(drop, in_turn=False)


async def insert_jobs(conn: AsyncConnection, new: Sequence[Job]) -> list[Job]:
    """See JobStore.create; in the caller's transaction."""
    now = await database_now(conn)
    timed = [_timed(job, now) for job in new]
    await conn.execute(_INSERT, [to_row(job) for job in timed])
    meeting = [job.uid for job in timed if job.request_id or job.code_key]  # others have nothing that they could meet
    there = await _there(conn, meeting) if meeting else frozenset()
    met = frozenset(meeting) - there
    return [await _met(conn, job, now) if job.uid in met else job for job in timed]


async def _there(conn: AsyncConnection, uids: Sequence[str]) -> frozenset[str]:
    """Those that are stored."""
    return frozenset((await conn.execute(sa.select(jobs.c.uid).where(jobs.c.uid.in_(uids)))).scalars())


async def _met(conn: AsyncConnection, job: Job, now: float) -> Job:
    """The job that was there in its place; the job itself, stored now, where what it met is a request of long ago."""
    if job.request_id and await _forget_old_request(conn, job, now):
        await conn.execute(_INSERT, [to_row(job)])
    return await _stored(conn, job)


def _timed(job: Job, now: float) -> Job:
    queued = now if job.state is JobState.QUEUED else 0.0
    return replace(job, created=now, updated=now, due=queued, queued_at=queued)


async def _forget_old_request(conn: AsyncConnection, job: Job, now: float) -> bool:
    old = jobs.update().where(
        jobs.c.workspace_uid == job.workspace_uid,
        jobs.c.request_id == job.request_id,
        jobs.c.created < now - _REQUEST_ID_LIVES_S,
    )
    return bool((await conn.execute(old.values(request_id=None))).rowcount)


async def _stored(conn: AsyncConnection, job: Job) -> Job:
    """The job, or the one that is there in its place."""
    same = [jobs.c.uid == job.uid]
    if job.request_id:
        same.append(sa.and_(jobs.c.workspace_uid == job.workspace_uid, jobs.c.request_id == job.request_id))
    if job.code_key:
        same.append(jobs.c.code_key == job.code_key)
    for one in same:
        row = (await conn.execute(sa.select(jobs).where(one))).one_or_none()
        if row is not None:
            return to_job(row._mapping)
    raise AssertionError("a job was neither stored nor in the way")
