"""What deploy_svc knows, in its tables. Every change of an instance or a deployment takes a number of the counter."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deploy_svc import rows
from deploy_svc.domain import (
    IDLE_TTL_S,
    ClusterSettings,
    DeploymentState,
    FailureKind,
    Failures,
    Function,
    Instance,
    InstanceState,
    Target,
    may_follow,
)
from deploy_svc.ports import Report
from deploy_svc.tables import cursors, functions, instances, log_lines, placements, revisions
from mesh.db import Database, current_version, next_version


@dataclass(frozen=True, slots=True)
class Desired:
    """A function as the registry just told of it."""

    uid: str
    name: str
    display_name: str
    version: int
    revision: int
    running: bool
    min_instances: int
    target: Target
    deleted: bool
    traceparent: str = ""
    idle_ttl_s: float = IDLE_TTL_S
    max_instances: int = 0
    cluster: ClusterSettings = field(default_factory=ClusterSettings)


class Store:
    """Functions, instances and revisions."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def apply(self, desired: Desired, now: datetime, *, force: bool = False) -> bool:
        """Take over what the registry wants; False where it is known already or older than what is.

        With `force` the version counts for nothing: the registry's versions have begun anew.
        """
        fields = {name: getattr(desired, name) for name in Desired.__dataclass_fields__}
        fields["cluster"] = rows.from_cluster(desired.cluster)

        async def work(conn: AsyncConnection) -> bool:
            query = sa.select(functions).where(functions.c.uid == desired.uid)
            known = (await conn.execute(query)).one_or_none()
            if known is None:
                await conn.execute(functions.insert().values(**fields, **await _beginnings(conn, now)))
                return True
            if known.version >= desired.version and not force:
                return False
            changes: dict[str, Any] = dict(fields)
            rolled = (known.revision, known.running) != (desired.revision, desired.running)
            if rolled:
                await _forgive(conn, desired.uid, [desired.revision])
                number = await next_version(conn)
                changes |= {"deployment_version": number, "changed_at": now}
                if desired.running and desired.revision and not desired.deleted:
                    state = DeploymentState.PENDING
                    changes |= {"state": state, "message": "", "report_number": number}
            await conn.execute(functions.update().where(functions.c.uid == desired.uid).values(**changes))
            return True

        return await self._db.transaction(work)

    async def keep_only(self, uids: Collection[str]) -> None:
        """Mark all other functions deleted: the registry does not know them any more."""
        async with self._db.write() as conn:
            gone = functions.update().where(functions.c.uid.not_in(list(uids)), ~functions.c.deleted)
            await conn.execute(gone.values(deleted=True))

    async def cursor(self, name: str) -> int:
        """The version up to which another service's changes have been taken over; 0 where none have."""
        async with self._db.read() as conn:
            query = sa.select(cursors.c.version).where(cursors.c.name == name)
            return int((await conn.execute(query)).scalar_one_or_none() or 0)

    async def set_cursor(self, name: str, version: int) -> None:
        """Keep that version."""
        async with self._db.write() as conn:
            await conn.execute(cursors.delete().where(cursors.c.name == name))
            await conn.execute(cursors.insert().values(name=name, version=version))

    async def function_uids(self) -> list[str]:
        """All functions."""
        async with self._db.read() as conn:
            return list((await conn.execute(sa.select(functions.c.uid))).scalars())

    async def function(self, uid: str) -> Function | None:
        """One function."""
        async with self._db.read() as conn:
            row = (await conn.execute(sa.select(functions).where(functions.c.uid == uid))).one_or_none()
        return None if row is None else rows.to_function(row)

    async def situation(self, uid: str) -> tuple[Function, int, list[Instance], dict[int, Failures]] | None:
        """A function, its slot, its live instances and its revisions' failures, of one moment."""
        async with self._db.read() as conn:
            row = (await conn.execute(sa.select(functions).where(functions.c.uid == uid))).one_or_none()
            if row is None:
                return None
            live = sa.select(instances).where(instances.c.function_uid == uid, instances.c.live)
            failed = sa.select(revisions).where(revisions.c.function_uid == uid, revisions.c.failures > 0)
            found = [rows.to_instance(one) for one in await conn.execute(live)]
            failures = {one.revision: rows.to_failures(one) for one in await conn.execute(failed)}
        return rows.to_function(row), row.slot, found, failures

    async def instances_of(self, uid: str, *, ended: int = 5) -> list[Instance]:
        """The live instances of a function, and the last ended ones, oldest first."""
        own = sa.select(instances).where(instances.c.function_uid == uid)
        async with self._db.read() as conn:
            live = list(await conn.execute(own.where(instances.c.live)))
            gone = own.where(~instances.c.live).order_by(instances.c.ended_at.desc()).limit(ended)
            live += list(await conn.execute(gone))
        return sorted((rows.to_instance(one) for one in live), key=lambda i: (i.created_at, i.uid))

    async def instance(self, uid: str) -> Instance | None:
        """One instance."""
        async with self._db.read() as conn:
            row = (await conn.execute(sa.select(instances).where(instances.c.uid == uid))).one_or_none()
        return None if row is None else rows.to_instance(row)

    async def live_instances(self, targets: Collection[Target] = ()) -> list[Instance]:
        """All live instances, or those on some targets."""
        query = sa.select(instances).where(instances.c.live)
        if targets:
            query = query.where(instances.c.target.in_([one.value for one in targets]))
        async with self._db.read() as conn:
            return [rows.to_instance(one) for one in await conn.execute(query)]

    async def uncleaned(self) -> list[Instance]:
        """Ended instances of which the driver may still hold something."""
        query = sa.select(instances).where(~instances.c.live, ~instances.c.cleaned)
        async with self._db.read() as conn:
            return [rows.to_instance(one) for one in await conn.execute(query)]

    async def changed_since(self, version: int) -> tuple[list[Instance], int]:
        """Instances changed after a version, in order of version, and the version that this is the state of."""
        query = sa.select(instances).where(instances.c.version > version).order_by(instances.c.version)
        async with self._db.read() as conn:
            found = [rows.to_instance(one) for one in await conn.execute(query)]
            return found, await current_version(conn)

    async def add_instance(self, instance: Instance) -> Instance:
        """Keep a new instance."""
        async with self._db.write() as conn:
            number = await next_version(conn)
            row = rows.from_instance(instance) | {"version": number}
            await conn.execute(instances.insert().values(**row))
            await _touch(conn, instance.function_uid, number)
        return replace(instance, version=number)

    async def change_instance(self, uid: str, state: InstanceState | None = None, **changes: Any) -> Instance | None:
        """Change an instance; None (and no change) where it is not there or may not come into that state."""

        return await self._db.transaction(lambda conn: _change(conn, uid, state, changes))

    async def set_started(self, uid: str, **changes: Any) -> Instance | None:
        """Change an instance that was started, and keep that its artifact is used: it must not be swept."""

        async def work(conn: AsyncConnection) -> Instance | None:
            changed = await _change(conn, uid, None, changes)
            if changed is not None:
                await _use(conn, changed)
            return changed

        return await self._db.transaction(work)

    async def set_cleaned(self, uid: str) -> None:
        """The driver holds nothing of the instance any more."""
        async with self._db.write() as conn:
            await conn.execute(instances.update().where(instances.c.uid == uid).values(cleaned=True))

    async def failed(self, function_uid: str, revision: int, kind: FailureKind, message: str, now: datetime) -> None:
        """Count a failure of a revision."""
        async with self._db.write() as conn:
            await _ensure_revision(conn, function_uid, revision, "", now)
            counted = {
                "failures": revisions.c.failures + 1,
                "failure_kind": kind,
                "failed_at": now,
                "failure_message": message,
            }
            await conn.execute(revisions.update().where(*_is(function_uid, revision)).values(**counted))

    async def settle(
        self,
        function: Function,
        state: DeploymentState,
        message: str,
        *,
        ready_revision: int,
        forgive: Sequence[int],
        now: datetime,
    ) -> bool:
        """Keep how a deployment is; whether that is new. `ready_revision`: all wanted of it are ready, or 0."""
        told = (function.state, function.message) != (state, message)
        last_ready = ready_revision or function.last_ready_revision
        if not told and last_ready == function.last_ready_revision and not forgive:
            return False
        async with self._db.write() as conn:
            await _forgive(conn, function.uid, forgive)
            changes: dict[str, Any] = {"last_ready_revision": last_ready}
            if told:
                number = await next_version(conn)
                changes |= {"state": state, "message": message, "changed_at": now}
                changes |= {"deployment_version": number, "report_number": number}
            same = (functions.c.uid == function.uid, functions.c.version == function.version)
            await conn.execute(functions.update().where(*same).values(**changes))
        return told

    async def pending_reports(self) -> list[Report]:
        """What the registry has not acknowledged."""
        query = sa.select(functions).where(functions.c.report_number > functions.c.reported_number)
        async with self._db.read() as conn:
            return [
                Report(row.uid, row.version, row.report_number, DeploymentState(row.state), row.message)
                for row in await conn.execute(query)
            ]

    async def reported(self, uid: str, number: int) -> None:
        """The registry has acknowledged a report."""
        async with self._db.write() as conn:
            await conn.execute(functions.update().where(functions.c.uid == uid).values(reported_number=number))

    async def set_pending(self, now: datetime) -> None:
        """Nothing runs here any more, wanted or not: what should run is PENDING until it is started again.

        What was scaled to zero still is, and what is on a cluster goes on there.
        """
        elsewhere = functions.c.uid.in_(sa.select(placements.c.function_uid))
        wanted = (functions.c.running, functions.c.revision > 0, ~functions.c.deleted, ~elsewhere)
        up = sa.select(functions.c.uid).where(*wanted, functions.c.state != DeploymentState.IDLE)
        async with self._db.write() as conn:
            for uid in list((await conn.execute(up)).scalars()):
                number = await next_version(conn)
                fields = {"state": DeploymentState.PENDING, "message": "", "changed_at": now}
                fields |= {"deployment_version": number, "report_number": number}
                await conn.execute(functions.update().where(functions.c.uid == uid).values(**fields))

    async def forgettable(self) -> list[str]:
        """Deleted functions of which nothing is left."""
        held = sa.select(instances.c.function_uid).where(instances.c.live | ~instances.c.cleaned)
        placed = sa.select(placements.c.function_uid)
        gone = (functions.c.deleted, functions.c.uid.not_in(held), functions.c.uid.not_in(placed))
        query = sa.select(functions.c.uid).where(*gone)
        async with self._db.read() as conn:
            return list((await conn.execute(query)).scalars())

    async def forget(self, uid: str) -> None:
        """Delete all of a function but its ended instances, which watchers may not have heard of yet."""
        async with self._db.write() as conn:
            for table, column in (
                (log_lines, log_lines.c.function_uid),
                (revisions, revisions.c.function_uid),
                (functions, functions.c.uid),
            ):
                await conn.execute(table.delete().where(column == uid))

    async def purge_ended(self, before: datetime) -> None:
        """Delete ended instances that ended before a time, all but the last of each function that is there."""
        newest = (
            sa.select(sa.func.max(instances.c.version))
            .where(~instances.c.live, instances.c.function_uid.in_(sa.select(functions.c.uid)))
            .group_by(instances.c.function_uid)
        )
        old = (~instances.c.live, instances.c.cleaned, instances.c.ended_at < before)
        async with self._db.write() as conn:
            kept = list((await conn.execute(newest)).scalars())
            await conn.execute(instances.delete().where(*old, instances.c.version.not_in(kept)))

    async def used_artifacts(self, *, newest: int = 5) -> frozenset[str]:
        """Artifacts of the last used revisions of each function; older ones are forgotten."""
        async with self._db.write() as conn:
            query = sa.select(revisions).order_by(revisions.c.function_uid, revisions.c.used_at.desc())
            counts: dict[str, int] = {}
            used = set()
            for row in list(await conn.execute(query)):
                counts[row.function_uid] = counts.get(row.function_uid, 0) + 1
                if counts[row.function_uid] <= newest:
                    used.add(row.artifact)
                else:
                    await conn.execute(revisions.delete().where(*_is(row.function_uid, row.revision)))
            live = sa.select(instances.c.artifact).where(instances.c.live)
            used |= set((await conn.execute(live)).scalars())
        return frozenset(used - {""})


async def _beginnings(conn: AsyncConnection, now: datetime) -> Mapping[str, Any]:
    taken = set((await conn.execute(sa.select(functions.c.slot))).scalars())
    slot = next(n for n in range(len(taken) + 1) if n not in taken)
    return {
        "state": DeploymentState.NONE,
        "message": "",
        "last_ready_revision": 0,
        "deployment_version": await next_version(conn),
        "changed_at": now,
        "slot": slot,
        "log_sequence": 0,
        "report_number": 0,
        "reported_number": 0,
    }


async def _change(
    conn: AsyncConnection, uid: str, state: InstanceState | None, changes: Mapping[str, Any]
) -> Instance | None:
    row = (await conn.execute(sa.select(instances).where(instances.c.uid == uid))).one_or_none()
    if row is None or (state and not may_follow(InstanceState(row.state), state)):
        return None
    number = await next_version(conn)
    fields = {**changes, "version": number}
    if state is not None:
        live = state not in (InstanceState.STOPPED, InstanceState.FAILED)
        fields |= {"state": state, "live": live}
    changed = instances.update().where(instances.c.uid == uid).values(**fields).returning(instances)
    found = rows.to_instance((await conn.execute(changed)).one())
    await _touch(conn, row.function_uid, number)
    return found


def _is(function_uid: str, revision: int) -> tuple[Any, Any]:
    return revisions.c.function_uid == function_uid, revisions.c.revision == revision


async def _touch(conn: AsyncConnection, function_uid: str, number: int) -> None:
    touched = functions.update().where(functions.c.uid == function_uid)
    await conn.execute(touched.values(deployment_version=number))


async def _use(conn: AsyncConnection, instance: Instance) -> None:
    await _ensure_revision(conn, instance.function_uid, instance.revision, instance.artifact, instance.created_at)
    fields = {"artifact": instance.artifact, "used_at": instance.created_at}
    used = revisions.update().where(*_is(instance.function_uid, instance.revision))
    await conn.execute(used.values(**fields))


async def _ensure_revision(
    conn: AsyncConnection, function_uid: str, revision: int, artifact: str, now: datetime
) -> None:
    known = await conn.execute(sa.select(revisions.c.revision).where(*_is(function_uid, revision)))
    if known.one_or_none() is None:
        await conn.execute(
            revisions.insert().values(
                function_uid=function_uid, revision=revision, artifact=artifact, used_at=now,
                failures=0, failure_kind="", failed_at=None, failure_message="",
            )
        )  # fmt: skip


async def _forgive(conn: AsyncConnection, function_uid: str, numbers: Sequence[int]) -> None:
    for number in numbers:
        await conn.execute(revisions.update().where(*_is(function_uid, number)).values(failures=0))
