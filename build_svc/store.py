"""Builds and their events as rows. Every change of a build and the events that tell of it are one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from build_svc import event_log, rows
from build_svc.domain import (
    FINAL_STATES,
    MAX_ATTEMPTS,
    Artifact,
    Build,
    BuildState,
    Event,
    Happening,
    LogLine,
    Progress,
    Push,
    StateChange,
    after,
    may_follow,
    retry_delay_s,
)
from build_svc.leases import Lease, LeaseLost, LeaseWatch
from build_svc.tables import builds
from mesh.clock import Clock
from mesh.db import Database

_PUT_OFF_MAX = timedelta(seconds=60)
REQUEST_ID_LIVES = timedelta(days=1)
_FINAL = [state.value for state in FINAL_STATES]


def _is_due(time: sa.ColumnElement[datetime | None], now: datetime) -> sa.ColumnElement[bool]:
    """Whether something that was put off has its turn. Nothing is put off by more than a minute or so: what lies
    further ahead was written before the clock went back."""
    return sa.or_(time.is_(None), time <= now, time > now + _PUT_OFF_MAX)


def _is_same(lease: Lease) -> sa.ColumnElement[bool]:
    return sa.and_(
        builds.c.uid == lease.build_uid, builds.c.lease_owner == lease.owner, builds.c.lease_until == lease.until
    )


class BuildStore:
    """The builds. Each claim has an owner of its own; only the owner of the newest one can write."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._leases = LeaseWatch(clock)

    async def create(self, build: Build, request_id: str, push_password: bytes | None = None) -> tuple[Build, bool]:
        """The build as stored, and whether it is new: a repeated request id gives the first one's build.

        `push_password` is encrypted already, and gone when the build has ended.
        """

        async def work(conn: AsyncConnection) -> tuple[Build, bool]:
            if request_id:
                mine = (builds.c.function_uid == build.function_uid) & (builds.c.request_id == request_id)
                row = (await conn.execute(sa.select(builds).where(mine))).one_or_none()
                if row is not None and row.create_time > self._clock.now() - REQUEST_ID_LIVES:
                    return rows.build_of(row), False
                await conn.execute(sa.update(builds).where(mine).values(request_id=None))
            row_values = rows.of_build(build) | {"request_id": request_id or None, "report_failures": 0}
            row_values["push_password"] = push_password
            await conn.execute(sa.insert(builds).values(row_values))
            return await event_log.append(conn, build, [StateChange(build)], self._clock.now()), True

        return await self._database.transaction(work)

    async def forget(self, uid: str) -> None:
        """Remove a build that was never accepted."""

        async def work(conn: AsyncConnection) -> None:
            gone = await conn.execute(sa.delete(builds).where(builds.c.uid == uid, builds.c.revision == ""))
            if gone.rowcount:
                await event_log.remove(conn, uid)

        await self._database.transaction(work)

    async def accept(
        self, uid: str, *, revision: str, runtime: str, target: str, handler: str, is_late: bool = False
    ) -> Build:
        """Note which revision the build makes; harmless when repeated.

        Where `is_late` nobody was told that the build is accepted: if a newer one of the function is to be deployed,
        it is to be cancelled. Its revision has the higher number and would take the place of that one's.
        """

        async def work(conn: AsyncConnection) -> Build:
            values = {"revision": revision, "runtime": runtime, "target": target, "handler": handler}
            await conn.execute(sa.update(builds).where(builds.c.uid == uid).values(values))
            build = await self._locked(conn, uid)
            if not is_late or not await self._overtaken(conn, build):
                return build
            await conn.execute(sa.update(builds).where(builds.c.uid == uid).values(cancel_requested=True))
            return replace(build, cancel_requested=True)

        return await self._database.transaction(work)

    async def get(self, uid: str) -> Build | None:
        async with self._database.read() as conn:
            row = (await conn.execute(sa.select(builds).where(builds.c.uid == uid))).one_or_none()
        return rows.build_of(row) if row else None

    async def list(
        self, *, function_uid: str, workspace: str, limit: int, before: str | None, pushed_as: str = ""
    ) -> Sequence[Build]:
        """Newest first: those of a function, or of a workspace (`workspaces/ws-...`) where no function is given.

        `pushed_as` (`registry/repository:tag`, or `@digest`) leaves those that were pushed as that.
        """
        query = sa.select(builds).order_by(builds.c.uid.desc()).limit(limit)
        if function_uid:
            query = query.where(builds.c.function_uid == function_uid)
        elif workspace:
            query = query.where(builds.c.function.startswith(f"{workspace}/functions/", autoescape=True))
        if pushed_as:
            name, _, digest = pushed_as.partition("@")
            query = query.where(
                builds.c.push_image.startswith(f"{name}:", autoescape=True) & (builds.c.push_digest == digest)
                if digest
                else builds.c.push_image == pushed_as
            )
        if before is not None:
            query = query.where(builds.c.uid < before)
        async with self._database.read() as conn:
            return [rows.build_of(row) for row in await conn.execute(query)]

    async def events_after(self, uid: str, sequence: int, limit: int) -> Sequence[Event]:
        async with self._database.read() as conn:
            return await event_log.after(conn, uid, sequence, limit)

    async def claim(self, owner: str, *, lease_s: float, accept_s: float) -> Build | None:
        """The oldest build that nobody works on, now `owner`'s for `lease_s`; None if there is none.

        One whose revision is not known yet is left to whoever is creating it for `accept_s`. One that was begun
        too often, or was cancelled while nobody had it, is ended instead.
        """
        now = self._clock.now()
        accepted = sa.or_(builds.c.revision != "", builds.c.create_time <= now - timedelta(seconds=accept_s))
        is_open = builds.c.state.not_in(_FINAL)
        lease = sa.select(builds.c.uid, builds.c.lease_owner, builds.c.lease_until)
        async with self._database.read() as conn:  # most of the time there is nothing: no need to take turns
            held = await conn.execute(lease.where(is_open, builds.c.lease_owner.is_not(None)))
            over = self._leases.over([Lease(*row) for row in held], lease_s)
            free = sa.or_(
                builds.c.lease_owner.is_(None) & _is_due(builds.c.lease_until, now), *(_is_same(one) for one in over)
            )
            query = sa.select(builds).where(is_open, free, accepted).order_by(builds.c.uid).limit(1)
            if (await conn.execute(query)).one_or_none() is None:
                return None

        async def work(conn: AsyncConnection) -> Build | None:
            while row := (await conn.execute(query)).one_or_none():
                build = rows.build_of(row)
                if build.cancel_requested and build.revision:
                    await self._end(conn, build, BuildState.CANCELLED, "The build was cancelled.")
                elif build.attempts >= MAX_ATTEMPTS:
                    sentence = f"The build was begun {MAX_ATTEMPTS} times and never ended: its builder died each time."
                    await self._end(conn, build, BuildState.FAILED, sentence)
                else:
                    return await self._take(conn, build, owner, now + timedelta(seconds=lease_s))
            return None

        return await self._database.transaction(work)

    async def heartbeat(self, uid: str, owner: str, lease_s: float) -> bool:
        """Keep the lease; says whether somebody wants the build cancelled. Raises LeaseLost."""

        async def work(conn: AsyncConnection) -> bool:
            build = await self._owned(conn, uid, owner)
            until = self._clock.now() + timedelta(seconds=lease_s)
            await conn.execute(sa.update(builds).where(builds.c.uid == uid).values(lease_until=until))
            return build.cancel_requested

        return await self._database.transaction(work)

    async def postpone(self, uid: str, owner: str, *, delay_s: float, counts: bool) -> None:
        """Give the build back, to be claimed by anybody after the delay; `counts` if as an attempt that failed."""

        async def work(conn: AsyncConnection) -> None:
            mine = (builds.c.uid == uid) & (builds.c.lease_owner == owner)
            values = {
                "lease_owner": None,
                "lease_until": self._clock.now() + timedelta(seconds=delay_s),
                "attempts": builds.c.attempts - (0 if counts else 1),
            }
            await conn.execute(sa.update(builds).where(mine).values(values))

        await self._database.transaction(work)

    async def record(self, uid: str, owner: str, happenings: Sequence[Progress | LogLine]) -> Build:
        """Append happenings as events, numbered on. Raises LeaseLost."""

        async def work(conn: AsyncConnection) -> Build:
            build = await self._owned(conn, uid, owner)
            kept: list[Happening] = []
            for happening in happenings:
                build = after(build, happening)
                if isinstance(happening, Progress):
                    happening = Progress(happening.stage, build.percent)
                kept.append(happening)
            values = {"stage": build.stage, "percent": build.percent}
            await conn.execute(sa.update(builds).where(builds.c.uid == uid).values(values))
            return await event_log.append(conn, build, kept, self._clock.now())

        return await self._database.transaction(work)

    async def move(self, uid: str, owner: str, state: BuildState) -> Build:
        """Go on to another state that is not final; staying in it is harmless. Raises LeaseLost."""

        async def work(conn: AsyncConnection) -> Build:
            build = await self._owned(conn, uid, owner)
            if not may_follow(build.state, state):
                return build
            build = replace(build, state=state)
            await conn.execute(sa.update(builds).where(builds.c.uid == uid).values(state=state))
            return await event_log.append(conn, build, [StateChange(build)], self._clock.now())

        return await self._database.transaction(work)

    async def finish(
        self,
        uid: str,
        owner: str,
        state: BuildState,
        *,
        error: str = "",
        artifact: Artifact | None = None,
        cached: bool = False,
        push: Push | None = None,
    ) -> Build:
        """End the build; its last event says so. `push` tells what it was pushed as. Raises LeaseLost."""

        async def work(conn: AsyncConnection) -> Build:
            build = await self._owned(conn, uid, owner)
            build = replace(build, artifact=artifact, cached=cached, push=push or build.push)
            return await self._end(conn, build, state, error)

        return await self._database.transaction(work)

    async def push_password(self, uid: str) -> bytes | None:
        """The password to push with as it was stored; None where there is none, or the build has ended."""
        async with self._database.read() as conn:
            query = sa.select(builds.c.push_password).where(builds.c.uid == uid)
            found: bytes | None = (await conn.execute(query)).scalar_one_or_none()
        return found

    async def request_cancel(self, uid: str) -> Build | None:
        """Note that the build is to be cancelled; at once where nobody works on it. None if there is none."""

        async def work(conn: AsyncConnection) -> Build | None:
            row = (await conn.execute(sa.select(builds).where(builds.c.uid == uid))).one_or_none()
            if row is None:
                return None
            build = rows.build_of(row)
            if build.state.final or build.cancel_requested:
                return build
            build = replace(build, cancel_requested=True)
            await conn.execute(sa.update(builds).where(builds.c.uid == uid).values(cancel_requested=True))
            if build.revision and row.lease_owner is None:
                return await self._end(conn, build, BuildState.CANCELLED, "The build was cancelled.")
            return build

        return await self._database.transaction(work)

    async def unreported(self, limit: int) -> Sequence[Build]:
        """Builds that have ended and that the registry has not heard of, in the order they ended."""
        query = (
            sa.select(builds)
            .where(
                builds.c.state.in_(_FINAL),
                ~builds.c.reported,
                _is_due(builds.c.report_after, self._clock.now()),
            )
            .order_by(builds.c.end_time)
            .limit(limit)
        )
        async with self._database.read() as conn:
            return [rows.build_of(row) for row in await conn.execute(query)]

    async def report_failed(self, uid: str) -> None:
        """The registry could not be told; next time later."""

        async def work(conn: AsyncConnection) -> None:
            query = sa.select(builds.c.report_failures).where(builds.c.uid == uid)
            failures = int((await conn.execute(query)).scalar_one()) + 1
            later = self._clock.now() + timedelta(seconds=retry_delay_s(failures))
            values = {"report_failures": failures, "report_after": later}
            await conn.execute(sa.update(builds).where(builds.c.uid == uid).values(values))

        await self._database.transaction(work)

    async def open_of_function(self, function_uid: str) -> Sequence[str]:
        """Builds of a function that have not ended."""
        query = sa.select(builds.c.uid).where(builds.c.function_uid == function_uid, builds.c.state.not_in(_FINAL))
        async with self._database.read() as conn:
            return list((await conn.execute(query)).scalars())

    async def open_uids(self) -> frozenset[str]:
        """All builds that have not ended."""
        async with self._database.read() as conn:
            return frozenset(
                (await conn.execute(sa.select(builds.c.uid).where(builds.c.state.not_in(_FINAL)))).scalars()
            )

    async def _take(self, conn: AsyncConnection, build: Build, owner: str, until: datetime) -> Build:
        now = self._clock.now()
        first = build.state is BuildState.PENDING
        build = replace(
            build,
            attempts=build.attempts + 1,
            start_time=build.start_time or now,
            state=BuildState.BUILDING if first else build.state,
        )
        values = {
            "attempts": build.attempts,
            "start_time": build.start_time,
            "state": build.state,
            "lease_owner": owner,
            "lease_until": until,
        }
        await conn.execute(sa.update(builds).where(builds.c.uid == build.uid).values(values))
        self._leases.note(Lease(build.uid, owner, until))
        return await event_log.append(conn, build, [StateChange(build)], now) if first else build

    async def _end(self, conn: AsyncConnection, build: Build, state: BuildState, error: str) -> Build:
        ended = replace(
            build,
            state=state,
            error=error,
            end_time=self._clock.now(),
            percent=100 if state is BuildState.DONE else build.percent,
        )
        await conn.execute(
            sa.update(builds)
            .where(builds.c.uid == build.uid)
            .values(rows.of_build(ended) | {"lease_owner": None, "lease_until": None, "push_password": None})
        )
        return await event_log.append(conn, ended, [StateChange(ended)], self._clock.now())

    async def _overtaken(self, conn: AsyncConnection, build: Build) -> bool:
        """Whether the build is to be deployed, and so is one of the function that was asked for after it."""
        newer = sa.select(builds.c.uid).where(
            builds.c.function_uid == build.function_uid, builds.c.uid > build.uid, builds.c.deploy
        )
        return build.deploy and (await conn.execute(newer.limit(1))).first() is not None

    async def _locked(self, conn: AsyncConnection, uid: str) -> Build:
        row = (await conn.execute(sa.select(builds).where(builds.c.uid == uid))).one_or_none()
        if row is None:
            raise LeaseLost(uid)
        return rows.build_of(row)

    async def _owned(self, conn: AsyncConnection, uid: str, owner: str) -> Build:
        query = sa.select(builds).where(builds.c.uid == uid, builds.c.lease_owner == owner)
        row = (await conn.execute(query)).one_or_none()
        if row is None:
            raise LeaseLost(uid)
        return rows.build_of(row)
