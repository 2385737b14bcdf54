"""Schedules in the database, and the loop that makes their jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from invoke_svc.jobs.creation import code_blob, complete
from invoke_svc.jobs.cron import Cron, CronInvalid, Plan, TimeZoneInvalid, plan
from invoke_svc.jobs.domain import Job, JobState, Kind, Language, ScriptTarget
from invoke_svc.jobs.hints import JobHints
from invoke_svc.jobs.rows import database_now
from invoke_svc.jobs.store import insert_jobs
from invoke_svc.jobs.tables import schedule_ticks, schedules
from mesh.blobs import BlobStore
from mesh.db import Database
from mesh.logs import get_logger

log = get_logger(__name__)
_AT_ONCE = 50
_NEVER = 9e12
_TICKS_KEPT_S = 7 * 86_400.0
_TRIES = 5
_ENUMS = {"kind": Kind, "language": Language, "target": ScriptTarget}


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule as it is stored; times as in Job. What it makes is in the fields that Job has too."""

    uid: str
    workspace_uid: str
    workspace_name: str
    cron: str
    time_zone: str
    make_up: bool
    kind: Kind
    function_uid: str = ""
    function_name: str = ""
    function_display_name: str = ""
    language: Language = Language.NONE
    target: ScriptTarget = ScriptTarget.DEFAULT
    memory_bytes: int = 0
    timeout_s: float = 0.0
    max_attempts: int = 1
    next_due: float = 0.0
    last_tick: float = 0.0
    last_job: str = ""
    error: str = ""
    created: float = 0.0
    event: bytes = b""
    code: bytes = b""

    @property
    def when(self) -> Cron:
        return Cron(self.cron, self.time_zone)

    def job(self) -> Job:
        """A job that it makes, to be queued at once."""
        made = Job(
            uid="",
            workspace_uid=self.workspace_uid,
            workspace_name=self.workspace_name,
            kind=self.kind,
            state=JobState.QUEUED,
            function_uid=self.function_uid,
            function_name=self.function_name,
            function_display_name=self.function_display_name,
            language=self.language,
            target=self.target,
            memory_bytes=self.memory_bytes,
            timeout_s=self.timeout_s,
            max_attempts=self.max_attempts,
            schedule_uid=self.uid,
            event=self.event,
        )
        return complete(made)


_NAMES = tuple(field.name for field in fields(Schedule))


class ScheduleStore:
    """The table of schedules."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, schedule: Schedule) -> Schedule:
        """Stores a new one, due at its first time. Raises CronInvalid, TimeZoneInvalid."""

        async def insert(conn: AsyncConnection) -> Schedule:
            now = await database_now(conn)
            schedule.when.check(now)
            made = replace(schedule, created=now, next_due=schedule.when.after(now))
            await conn.execute(schedules.insert().values(**{name: getattr(made, name) for name in _NAMES}))
            return made

        return await self._database.transaction(insert, in_turn=False)

    async def get(self, uid: str) -> Schedule | None:
        async with self._database.read() as conn:
            row = (await conn.execute(sa.select(schedules).where(schedules.c.uid == uid))).one_or_none()
        return None if row is None else to_schedule(row._mapping)

    async def page(self, size: int, workspace: str, before: tuple[float, str] | None) -> list[Schedule]:
        """Schedules, newest first, of a workspace (empty: all), older than `before` (created, uid)."""
        query = sa.select(schedules)
        if workspace:
            query = query.where(schedules.c.workspace_uid == workspace)
        if before is not None:
            query = query.where(sa.tuple_(schedules.c.created, schedules.c.uid) < before)
        query = query.order_by(schedules.c.created.desc(), schedules.c.uid.desc()).limit(size)
        async with self._database.read() as conn:
            return [to_schedule(row._mapping) for row in await conn.execute(query)]

    async def delete(self, uid: str) -> None:
        async def drop(conn: AsyncConnection) -> None:
            await conn.execute(schedules.delete().where(schedules.c.uid == uid))
            await conn.execute(schedule_ticks.delete().where(schedule_ticks.c.schedule_uid == uid))

        await self._database.transaction(drop, in_turn=False)


class Ticking:
    """`step` for a loop of every process. `refusal` says why a job of a function makes no sense now; else None."""

    def __init__(
        self, database: Database, blobs: BlobStore, hints: JobHints, refusal: Callable[[str], str | None]
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._hints = hints
        self._refusal = refusal

    async def step(self) -> bool:
        """Makes the jobs whose time has come; whether there may be more."""
        due = schedules.c.next_due
        async with self._database.read() as conn:
            now = await database_now(conn)
            if (await conn.execute(sa.select(schedules.c.uid).where(due <= now).limit(1))).first() is None:
                return False
        scripts: list[tuple[Job, bytes]] = []

        async def tick(conn: AsyncConnection) -> int:
            scripts.clear()
            now = await database_now(conn)
            query = sa.select(schedules).where(due <= now).order_by(due).limit(_AT_ONCE)
            if not self._database.is_sqlite:
                query = query.with_for_update(skip_locked=True)
            found = [to_schedule(row._mapping) for row in await conn.execute(query)]
            for schedule in found:
                await self._tick(conn, schedule, now, scripts)
            for job, code in scripts:  # before the jobs can be seen: a worker wants it at once
                await self._blobs.put(code_blob(job), code)
            return len(found)

        count = await self._database.transaction(tick, in_turn=False)
        self._hints.work.set()
        return count == _AT_ONCE

    async def _tick(
        self, conn: AsyncConnection, schedule: Schedule, now: float, scripts: list[tuple[Job, bytes]]
    ) -> None:
        try:
            what = plan(schedule.when, schedule.next_due, now, make_up=schedule.make_up)
        except (CronInvalid, TimeZoneInvalid) as error:
            what = Plan(None, _NEVER)
            schedule = replace(schedule, error=f"CRON_INVALID: {error}")
        changed: dict[str, Any] = {"next_due": what.next_due, "error": schedule.error}
        if what.tick is not None:
            refusal = self._refusal(schedule.function_uid) if schedule.kind is Kind.FUNCTION else None
            changed |= {"error": refusal or "", "last_tick": what.tick}
            if refusal is None:
                job = await self._make(conn, schedule, what.tick)
                if job is not None:
                    changed["last_job"] = job.uid
                    if job.kind is Kind.SCRIPT:
                        scripts.append((job, schedule.code))
            else:
                log.warning("schedule_made_no_job", schedule=schedule.uid, why=refusal)
        await conn.execute(schedules.update().where(schedules.c.uid == schedule.uid).values(**changed))
        old = schedule_ticks.c.tick < now - _TICKS_KEPT_S
        await conn.execute(schedule_ticks.delete().where(schedule_ticks.c.schedule_uid == schedule.uid, old))

    async def _make(self, conn: AsyncConnection, schedule: Schedule, tick: float) -> Job | None:
        """The job of a time; None where it was made before."""
        job = schedule.job()
        right = sa.text(
            "INSERT INTO schedule_ticks (schedule_uid, tick, job_uid) VALUES (:schedule, :tick, :job)"
            " ON CONFLICT DO NOTHING RETURNING tick"
        )
        values = {"schedule": schedule.uid, "tick": tick, "job": job.uid}
        if (await conn.execute(right, values)).first() is None:
            return None
        for _ in range(_TRIES):
            (made,) = await insert_jobs(conn, [job])
            if made.uid == job.uid:
                break
            job = schedule.job()  # its first digits are those of another job
        log.info("schedule_made_job", schedule=schedule.uid, job=job.uid)
        return job


def to_schedule(row: Mapping[Any, Any]) -> Schedule:
    """The schedule of a row."""
    values = dict(row)
    for name, kind in _ENUMS.items():
        values[name] = kind(values[name])
    return Schedule(**{**values, "event": bytes(values["event"]), "code": bytes(values["code"])})
