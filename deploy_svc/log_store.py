"""Log lines of functions: numbered, bounded by count, bytes and age."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from deploy_svc import rows
from deploy_svc.domain import LogLine
from deploy_svc.tables import functions, instances, log_lines
from mesh.db import Database

_INSERT_ROWS = 500


@dataclass(frozen=True, slots=True)
class LogBounds:
    """What is kept of each function: so many newest lines, of so many bytes in all."""

    lines: int
    bytes: int


@dataclass(frozen=True, slots=True)
class LineFilter:
    """Which lines are wanted: of a trace, written within times, with all of some texts and none of others."""

    trace_id: str = ""
    start: datetime | None = None
    end: datetime | None = None
    contains: Sequence[str] = ()
    lacks: Sequence[str] = ()

    def narrow(self, query: sa.Select[tuple[object, ...]]) -> sa.Select[tuple[object, ...]]:
        """A query of log_lines, for these lines only."""
        if self.trace_id:
            query = query.where(log_lines.c.trace_id == self.trace_id)
        if self.start is not None:
            query = query.where(log_lines.c.written_at >= self.start)
        if self.end is not None:
            query = query.where(log_lines.c.written_at < self.end)
        for text in self.contains:
            query = query.where(_without(text) != log_lines.c.text)
        for text in self.lacks:
            query = query.where(_without(text) == log_lines.c.text)
        return query


def _without(text: str) -> sa.Function[str]:
    """A line without a text: the search that both databases do alike (LIKE of one of them knows no large letters)."""
    return sa.func.replace(log_lines.c.text, text, "", type_=sa.Text)


EVERY_LINE = LineFilter()


class LogStore:
    """The lines of all functions."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def append(self, lines: Sequence[LogLine], positions: Mapping[str, int]) -> set[str]:
        """Keep lines, and how far each instance's output has been read, in one transaction.

        Lines of functions that are gone are dropped. Returns the functions that got lines.
        """
        by_function: dict[str, list[LogLine]] = {}
        for line in lines:
            by_function.setdefault(line.function_uid, []).append(line)
        got = set()
        async with self._db.write() as conn:
            for uid, own in by_function.items():
                counted = functions.update().where(functions.c.uid == uid)
                counted_on = counted.values(log_sequence=functions.c.log_sequence + len(own))
                row = (await conn.execute(counted_on.returning(functions.c.log_sequence))).one_or_none()
                if row is None:
                    continue
                first = row.log_sequence - len(own) + 1
                values = [rows.from_line(line, first + n) for n, line in enumerate(own)]
                for start in range(0, len(values), _INSERT_ROWS):
                    await conn.execute(log_lines.insert(), values[start : start + _INSERT_ROWS])
                got.add(uid)
            for instance, position in positions.items():
                read = instances.update().where(instances.c.uid == instance)
                await conn.execute(read.values(log_position=position))
        return got

    async def after(
        self, function_uid: str, sequence: int, *, limit: int, only: LineFilter = EVERY_LINE
    ) -> list[LogLine]:
        """Lines after a sequence number, oldest first."""
        query = self._query(function_uid, only).where(log_lines.c.sequence > sequence)
        async with self._db.read() as conn:
            found = await conn.execute(query.order_by(log_lines.c.sequence).limit(limit))
            return [rows.to_line(row) for row in found]

    async def tail(self, function_uid: str, count: int, *, only: LineFilter = EVERY_LINE) -> list[LogLine]:
        """The newest lines, oldest first."""
        query = self._query(function_uid, only)
        async with self._db.read() as conn:
            found = await conn.execute(query.order_by(log_lines.c.sequence.desc()).limit(count))
            return [rows.to_line(row) for row in reversed(list(found))]

    async def last_sequence(self, function_uid: str) -> int:
        """Number of the newest line there ever was."""
        query = sa.select(functions.c.log_sequence).where(functions.c.uid == function_uid)
        async with self._db.read() as conn:
            return int((await conn.execute(query)).scalar_one_or_none() or 0)

    async def trim(self, function_uid: str, bounds: LogBounds) -> None:
        """Delete the oldest lines of a function that are over its bounds."""
        own = log_lines.c.function_uid == function_uid
        running = sa.func.sum(log_lines.c.bytes).over(order_by=log_lines.c.sequence.desc())
        number = sa.func.row_number().over(order_by=log_lines.c.sequence.desc())
        ranked = sa.select(log_lines.c.sequence, running.label("total"), number.label("number")).where(own)
        sub = ranked.subquery()
        over = sa.select(sa.func.max(sub.c.sequence)).where(
            (sub.c.number > bounds.lines) | (sub.c.total > bounds.bytes)
        )
        async with self._db.write() as conn:
            last = (await conn.execute(over)).scalar_one_or_none()
            if last is not None:
                await conn.execute(log_lines.delete().where(own, log_lines.c.sequence <= last))

    async def expire(self, before: datetime) -> None:
        """Delete lines written before a time."""
        async with self._db.write() as conn:
            await conn.execute(log_lines.delete().where(log_lines.c.written_at < before))

    def _query(self, function_uid: str, only: LineFilter) -> sa.Select[tuple[object, ...]]:
        return only.narrow(sa.select(log_lines).where(log_lines.c.function_uid == function_uid))
