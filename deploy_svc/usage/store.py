"""The minutes of usage in the database: a restart loses the running one at most."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deploy_svc.domain import Target
from deploy_svc.tables import function_minutes, target_minutes
from deploy_svc.usage.domain import KEPT_MINUTES, Minute, Percents, Use
from mesh.db import Database

_SPARE_MINUTES = 60  # kept longer than asked for, should the clock be set back


@dataclass(frozen=True, slots=True)
class TargetMinute:
    """A minute of a target, with what it is in percent of its machine."""

    target: Target
    minute: Minute
    percents: Percents


class UsageStore:
    """Writes minutes, and reads the last ones."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, minutes: Sequence[TargetMinute]) -> None:
        """Keeps minutes, in place of what was known of them, and drops the old ones."""

        async def write(conn: AsyncConnection) -> None:
            for one in minutes:
                number, target = one.minute.number, str(one.target)
                for table in (function_minutes, target_minutes):
                    same = (table.c.minute == number) & (table.c.target == target)
                    await conn.execute(sa.delete(table).where(same))
                cpu, memory = one.percents
                values = {"minute": number, "target": target, "cpu_percent": cpu, "memory_percent": memory}
                await conn.execute(sa.insert(target_minutes).values(values))
                rows = [
                    {"function_uid": uid, "minute": number, "target": target, "cpus": use.cpus,
                     "memory_bytes": use.memory_bytes}
                    for uid, use in one.minute.functions.items()
                ]  # fmt: skip
                if rows:
                    await conn.execute(sa.insert(function_minutes), rows)
            oldest = max(one.minute.number for one in minutes) - KEPT_MINUTES - _SPARE_MINUTES
            for table in (function_minutes, target_minutes):
                await conn.execute(sa.delete(table).where(table.c.minute < oldest))

        if minutes:
            await self._database.transaction(write)

    async def of_function(self, uid: str, first: int) -> dict[int, Use]:
        """Minutes of a function from `first` on; nothing used in those that are known of no instance of it."""
        c = function_minutes.c
        async with self._database.read() as conn:
            known = await conn.execute(sa.select(target_minutes.c.minute).where(target_minutes.c.minute >= first))
            found = {number: Use() for number in known.scalars()}
            for row in await conn.execute(sa.select(function_minutes).where(c.function_uid == uid, c.minute >= first)):
                found[row.minute] = found.get(row.minute, Use()) + Use(row.cpus, row.memory_bytes)
        return found

    async def of_targets(self, first: int) -> Mapping[Target, dict[int, Percents]]:
        """Minutes of each target from `first` on."""
        found: dict[Target, dict[int, Percents]] = defaultdict(dict)
        async with self._database.read() as conn:
            for row in await conn.execute(sa.select(target_minutes).where(target_minutes.c.minute >= first)):
                found[Target(row.target)][row.minute] = (row.cpu_percent, row.memory_percent)
        return found
