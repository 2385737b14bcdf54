"""What deploy_svc keeps of apps: where they may be, and their pods as rows of instances."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deploy_svc import rows
from deploy_svc.domain import Function, Instance, Target
from deploy_svc.kubernetes.app_spec import Place
from deploy_svc.tables import functions, instances, placements
from mesh.db import Database, next_version

Situation = tuple[Function, list[Instance]]
_OWN = ("state", "address", "ready_at", "draining_at", "ended_at", "message")


class AppStore:
    """Placements of functions, and instances that are pods. Only one writer for each function at a time."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def placements(self) -> dict[str, set[Place]]:
        """Where there may be anything, by function."""
        found: dict[str, set[Place]] = {}
        async with self._db.read() as conn:
            for row in await conn.execute(sa.select(placements)):
                found.setdefault(row.function_uid, set()).add(Place(row.context, row.namespace))
        return found

    async def place(self, function: str, place: Place) -> None:
        """Objects of a function are about to be made there."""
        fields = {"function_uid": function, "context": place.context, "namespace": place.namespace}

        async def work(conn: AsyncConnection) -> None:
            known = await conn.execute(sa.select(placements).where(*_is(function, place)))
            if known.one_or_none() is None:
                await conn.execute(placements.insert().values(**fields))

        await self._db.transaction(work)

    async def displace(self, function: str, place: Place) -> None:
        """Nothing of a function is left there."""
        async with self._db.write() as conn:
            await conn.execute(placements.delete().where(*_is(function, place)))

    async def at_home(self) -> dict[str, Situation]:
        """Functions that have been ready on a cluster as they should be now, and have nothing on this machine: the
        situation of each, all of them read at once.
        """
        f, i = functions.c, instances.c
        placed = sa.select(placements.c.function_uid)
        local = sa.select(i.function_uid).where(i.live, i.target != Target.KUBERNETES.value)
        wanted = (f.target == Target.KUBERNETES.value, f.running, ~f.deleted, f.revision > 0)
        ready = (*wanted, f.last_ready_revision == f.revision, f.uid.in_(placed), f.uid.not_in(local))
        own = sa.select(instances).where(
            i.target == Target.KUBERNETES.value, i.function_uid.in_(sa.select(f.uid).where(*ready))
        )
        async with self._db.read() as conn:
            chosen = (await conn.execute(sa.select(functions).where(*ready))).all()
            found: dict[str, Situation] = {row.uid: (rows.to_function(row), []) for row in chosen}
            for row in await conn.execute(own):
                if row.function_uid in found:
                    found[row.function_uid][1].append(rows.to_instance(row))
        return found

    async def situation(self, uid: str) -> Situation | None:
        """A function, and all rows of its pods: the live ones and those that ended lately."""
        c = instances.c
        own = sa.select(instances).where(c.function_uid == uid, c.target == Target.KUBERNETES.value)
        async with self._db.read() as conn:
            row = (await conn.execute(sa.select(functions).where(functions.c.uid == uid))).one_or_none()
            if row is None:
                return None
            return rows.to_function(row), [rows.to_instance(one) for one in await conn.execute(own)]

    async def write(self, function: str, changed: Sequence[Instance]) -> None:
        """Keep rows of pods, new or changed; each change takes a number of the counter."""

        async def work(conn: AsyncConnection) -> None:
            number = 0
            for one in changed:
                number = await next_version(conn)
                fields = {name: getattr(one, name) for name in _OWN}
                fields |= {"version": number, "live": one.live, "cleaned": not one.live}
                updated = instances.update().where(instances.c.uid == one.uid).values(**fields)
                if (await conn.execute(updated)).rowcount == 0:
                    await conn.execute(instances.insert().values(**rows.from_instance(one) | fields))
            touched = functions.update().where(functions.c.uid == function)
            await conn.execute(touched.values(deployment_version=number))

        await self._db.transaction(work)


def _is(function: str, place: Place) -> tuple[sa.ColumnElement[bool], ...]:
    c = placements.c
    return c.function_uid == function, c.context == place.context, c.namespace == place.namespace
