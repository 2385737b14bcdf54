"""Execution records in the database."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from invoke_svc.domain import Run, Trigger
from invoke_svc.stats.store import add_counts
from invoke_svc.tables import executions
from mesh.db import Database

MIGRATIONS = Path(__file__).parent / "migrations"
PRUNE_ROWS = 50_000

_COLUMNS = tuple(column.name for column in executions.columns)
_WITHOUT_BODIES = tuple(one for one in executions.columns if one.name not in ("request_body", "response_body"))
_INSERT = sa.text(
    f"INSERT INTO executions ({', '.join(_COLUMNS)}) "  # noqa: S608 -- names of columns only
    f"VALUES ({', '.join(':' + name for name in _COLUMNS)}) ON CONFLICT DO NOTHING"
)


class SqlExecutionStore:
    """The ExecutionStore on SQLite and PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, runs: Sequence[Run], *, again: bool = False) -> None:
        async def insert(conn: AsyncConnection) -> None:
            there = await _there(conn, runs) if again else frozenset()
            new = [run for run in runs if run.uid not in there]
            if new:
                await conn.execute(_INSERT, [_row(run) for run in new])
                await add_counts(conn, new)

        await self._database.transaction(insert)

    async def get(self, function_uid: str, uid: str) -> Run | None:
        query = sa.select(executions).where(executions.c.function_uid == function_uid, executions.c.uid == uid)
        async with self._database.read() as conn:
            row = (await conn.execute(query)).one_or_none()
        return None if row is None else _run(row)

    async def newest(self, function_uid: str, limit: int, before: str | None, *, bodies: bool = False) -> list[Run]:
        columns = executions.columns if bodies else _WITHOUT_BODIES
        query = sa.select(*columns).where(executions.c.function_uid == function_uid)
        if before is not None:
            query = query.where(executions.c.uid < before)
        query = query.order_by(executions.c.uid.desc()).limit(limit)
        async with self._database.read() as conn:
            return [_run(row) for row in await conn.execute(query)]

    async def prune(self, function_uids: Sequence[str], kept: int, oldest: float) -> int:
        uid = executions.c.uid
        old = sa.select(uid).where(uid < f"{max(0, int(oldest * 1000)):012x}").order_by(uid).limit(PRUNE_ROWS)

        async def drop(conn: AsyncConnection) -> int:
            count = (await conn.execute(sa.delete(executions).where(uid.in_(old)))).rowcount
            for function_uid in function_uids:
                mine = executions.c.function_uid == function_uid
                surplus = sa.select(uid).where(mine).order_by(uid.desc()).offset(kept).limit(PRUNE_ROWS)
                count += (await conn.execute(sa.delete(executions).where(mine, uid.in_(surplus)))).rowcount
            return count

        return await self._database.transaction(drop)


async def _there(conn: AsyncConnection, runs: Sequence[Run]) -> frozenset[str]:
    """Which of these are stored already."""
    uid = executions.c.uid
    return frozenset((await conn.execute(sa.select(uid).where(uid.in_([run.uid for run in runs])))).scalars())


def _row(run: Run) -> dict[str, Any]:
    row = {name: getattr(run, name) for name in _COLUMNS}
    row["trigger"] = run.trigger.value
    # PostgreSQL takes no NUL in text; what callers and workloads say may hold one.
    row["request_line"] = run.request_line.replace("\0", "")
    row["error"] = run.error.replace("\0", "")
    return row


def _run(row: Any) -> Run:
    values = dict(row._mapping)
    values["trigger"] = Trigger(values["trigger"])
    return Run(**values)
