"""Execution records on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from invoke_svc.domain import Run, Trigger
from invoke_svc.identity import new_run_uid
from invoke_svc.store import MIGRATIONS, SqlExecutionStore
from invoke_svc.tables import metadata
from mesh.db import Database


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    one = Database(database_url.replace("+aiosqlite", "").replace("+asyncpg", ""), schema="invoke")
    await one.migrate(MIGRATIONS)
    yield one
    await one.close()


def run(number: int, function: str = "fn-1") -> Run:
    started = 1_000_000.0 + number
    return Run(
        uid=new_run_uid(started),
        trigger=Trigger.DIRECT,
        started=started,
        trace_id="a" * 32,
        request_line="GET /api/x\0",
        function_uid=function,
        revision=3,
        instance="in-1",
        queued_s=0.25,
        duration_s=1.5,
        cold_start=True,
        status=500,
        failed=True,
        error="HANDLER_ERROR: ü",
        request_bytes=2**33,
        response_bytes=7,
    )


async def test_a_record_comes_back_as_it_was(database: Database) -> None:
    store = SqlExecutionStore(database)
    one = run(1)
    await store.append([one])
    await store.append([one], again=True)
    back = await store.get("fn-1", one.uid)
    one.request_line = "GET /api/x"
    assert back == one
    assert await store.get("fn-2", one.uid) is None


async def test_pages_go_from_the_newest_on(database: Database) -> None:
    store = SqlExecutionStore(database)
    runs = [run(number) for number in range(5)]
    await store.append([*runs, run(9, "fn-2")])
    first = await store.newest("fn-1", 2, None)
    second = await store.newest("fn-1", 9, first[-1].uid)
    assert [one.uid for one in first + second] == [one.uid for one in reversed(runs)]


async def test_only_the_newest_and_the_young_are_kept(database: Database) -> None:
    store = SqlExecutionStore(database)
    runs = [run(number) for number in range(6)]
    await store.append([*runs, run(0, "fn-old"), run(5, "fn-2")])
    assert await store.prune(["fn-1"], 2, 1_000_003.0) == 5
    assert [one.uid for one in await store.newest("fn-1", 9, None)] == [runs[5].uid, runs[4].uid]
    assert len(await store.newest("fn-2", 9, None)) == 1
    assert await store.prune(["fn-1"], 0, 0.0) == 2


async def test_the_migrations_make_the_tables(database: Database) -> None:
    def columns(conn: sa.Connection, table: str) -> dict[str, str]:
        found = sa.inspect(conn).get_columns(table)
        return {one["name"]: one["type"].compile(conn.dialect) for one in found}

    def wanted(conn: sa.Connection, table: str) -> dict[str, str]:
        return {one.name: one.type.compile(conn.dialect) for one in metadata.tables[table].columns}

    assert {"executions", "run_counts"} <= set(metadata.tables)
    for table in metadata.tables:
        async with database.read() as conn:
            assert await conn.run_sync(columns, table) == await conn.run_sync(wanted, table)


async def test_a_page_is_read_by_an_index(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/plan.db", schema="invoke")
    await database.migrate(MIGRATIONS)
    query = "SELECT * FROM executions WHERE function_uid='f' AND uid<'x' ORDER BY uid DESC LIMIT 3"
    async with database.read() as conn:
        (plan,) = (await conn.execute(sa.text("EXPLAIN QUERY PLAN " + query))).all()
    await database.close()
    assert "SEARCH executions USING INDEX" in plan[3]
