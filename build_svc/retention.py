"""How long ended builds are kept: the newest of each function, and of the others what revisions came from.

The row of a build whose artifact a revision refers to stays, because the sweep learns from it which source that is made
of; its lines go. Deciding and deleting are apart, and both may be done by several processes at once, or be stopped at
any point: what has ended does not change any more, and is deleted at most twice.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from build_svc.domain import FINAL_STATES
from build_svc.ports import Registry
from build_svc.store import REQUEST_ID_LIVES
from build_svc.tables import builds, events
from mesh.clock import Clock
from mesh.db import Database
from mesh.errors import NotFound

_FINAL = [state.value for state in FINAL_STATES]
_BUILDS_MAX = 500
_EVENTS_MAX = 2000
_STATE = "state_change"


@dataclass(frozen=True)
class OldBuild:
    """A build beyond the newest ones of its function; `told` if there is more of it than which states it was in,
    `repeatable` if whoever asked for it may ask again and get this one."""

    uid: str
    artifact: str | None
    told: bool
    repeatable: bool


@dataclass(frozen=True)
class Forgotten:
    """What is to be deleted: builds whole, and builds but for their states."""

    whole: Sequence[str]
    lines: Sequence[str]


def to_forget(old: Collection[OldBuild], live: Collection[str]) -> Forgotten:
    """What goes of old builds, where `live` are the digests of artifacts that revisions refer to; at most so many."""
    kept = {one.uid for one in old if one.artifact in live or one.repeatable}
    whole = [one.uid for one in old if one.uid not in kept][:_BUILDS_MAX]
    lines = [one.uid for one in old if one.uid in kept and one.told][: _BUILDS_MAX - len(whole)]
    return Forgotten(whole, lines)


class Retention:
    """`old` before the registry is asked what lives, `forget` afterwards: it knew of all of these by then.

    `kept` builds of each function are, and what has ended within the `grace`.
    """

    def __init__(self, database: Database, registry: Registry, clock: Clock, *, kept: int, grace: timedelta) -> None:
        self._database = database
        self._registry = registry
        self._clock = clock
        self._kept = kept
        self._grace = grace

    async def old(self) -> Sequence[OldBuild]:
        """Ended builds beyond the newest ones of each function, that the registry was told of."""
        number = sa.func.row_number().over(partition_by=builds.c.function_uid, order_by=builds.c.uid.desc())
        again = builds.c.request_id.is_not(None) & (builds.c.create_time > self._clock.now() - REQUEST_ID_LIVES)
        columns = (builds.c.uid, builds.c.artifact_digest, builds.c.reported, builds.c.end_time)
        numbered = sa.select(*columns, again.label("again"), number.label("number"))
        ended = numbered.where(builds.c.state.in_(_FINAL)).subquery()
        told = sa.exists().where(events.c.build_uid == ended.c.uid, events.c.kind != _STATE)
        query = sa.select(ended.c.uid, ended.c.artifact_digest, told.label("told"), ended.c.again).where(
            ended.c.number > self._kept, ended.c.reported, ended.c.end_time <= self._ended_before()
        )
        async with self._database.read() as conn:
            return [OldBuild(*row) for row in await conn.execute(query)]

    async def forget(self, old: Collection[OldBuild], live: Collection[str]) -> int:
        """Delete what is old, and all of functions that are no more. Returns of how many builds something was."""
        going = to_forget(old, live)
        whole = {*going.whole, *await self._of_deleted_functions(live)}
        for uid in (*going.lines, *whole):
            await self._forget_lines(uid)
        for uid in whole:
            await self._forget_build(uid)
        return len(whole) + len(going.lines)

    async def _of_deleted_functions(self, live: Collection[str]) -> Sequence[str]:
        """Ended builds of functions that the registry has not. It is asked only where nothing that they made lives."""
        query = sa.select(builds.c.function_uid, builds.c.function, builds.c.artifact_digest).distinct()
        made: dict[tuple[str, str], set[str | None]] = {}
        async with self._database.read() as conn:
            for function_uid, function, artifact in await conn.execute(query):
                made.setdefault((function_uid, function), set()).add(artifact)
        found: list[str] = []
        for (function_uid, function), artifacts in made.items():
            if not artifacts.isdisjoint(live) or len(found) >= _BUILDS_MAX or await self._is_there(function):
                continue
            theirs = (
                sa.select(builds.c.uid)
                .where(builds.c.function_uid == function_uid, builds.c.state.in_(_FINAL))
                .where(builds.c.reported, builds.c.end_time <= self._ended_before())
                .limit(_BUILDS_MAX)
            )
            async with self._database.read() as conn:
                found += (await conn.execute(theirs)).scalars()
        return found

    def _ended_before(self) -> datetime:
        return self._clock.now() - self._grace

    async def _is_there(self, function: str) -> bool:
        try:
            await self._registry.resolve(function)
        except NotFound:
            return False
        return True

    async def _forget_lines(self, uid: str) -> None:
        """Delete the events of a build but for its states, some at a time: writers take turns."""
        mine = (events.c.build_uid == uid) & (events.c.kind != _STATE)

        async def work(conn: AsyncConnection) -> bool:
            some = sa.select(events.c.sequence).where(mine).order_by(events.c.sequence).limit(_EVENTS_MAX)
            numbers = (await conn.execute(some)).scalars().all()
            if numbers:
                await conn.execute(sa.delete(events).where(mine, events.c.sequence <= numbers[-1]))
            return len(numbers) == _EVENTS_MAX

        while await self._database.transaction(work):
            pass

    async def _forget_build(self, uid: str) -> None:
        async def work(conn: AsyncConnection) -> None:
            await conn.execute(sa.delete(builds).where(builds.c.uid == uid))
            await conn.execute(sa.delete(events).where(events.c.build_uid == uid))

        await self._database.transaction(work)
