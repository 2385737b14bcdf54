"""The database on both engines."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from sqlalchemy.exc import StatementError

from mesh.db import Database, DatabaseUnavailable, UtcTime, current_version, next_version
from mesh.migrations import is_current, newest

MIGRATION = """
import sqlalchemy as sa
from alembic import op
from mesh.db import UtcTime
revision, down_revision, branch_labels, depends_on = "{revision}", {down}, None, None
def upgrade():
    {upgrade}
"""
things = sa.Table("things", sa.MetaData(), sa.Column("id", sa.BigInteger, primary_key=True), sa.Column("at", UtcTime))


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    versions = tmp_path / "migrations" / "versions"
    versions.mkdir(parents=True)
    create = 'op.create_table("things", sa.Column("id", sa.BigInteger, primary_key=True), sa.Column("at", UtcTime))'
    (versions / "v0001_things.py").write_text(MIGRATION.format(revision="v0001", down=None, upgrade=create))
    return versions.parent


@pytest.fixture
async def database(database_url: str, migrations: Path) -> AsyncIterator[Database]:
    database = Database(database_url, schema="things_svc")
    await database.migrate(migrations)
    yield database
    await database.close()


async def test_migrations_run_once_also_from_two_processes_at_once(database_url: str, migrations: Path) -> None:
    databases = [Database(database_url, schema="things_svc") for _ in range(3)]
    await asyncio.gather(*(one.migrate(migrations) for one in databases))
    (migrations / "versions" / "v0002_more.py").write_text(
        MIGRATION.format(
            revision="v0002", down='"v0001"', upgrade='op.add_column("things", sa.Column("n", sa.Integer))'
        )
    )
    await asyncio.gather(*(one.migrate(migrations) for one in databases))
    async with databases[0].read() as conn:
        assert (await conn.execute(sa.text("SELECT count(n) FROM things"))).scalar_one() == 0
    (migrations / "versions" / "v0002_more.py").unlink()
    with pytest.raises(RuntimeError, match="newer than this version"):
        await databases[0].migrate(migrations)
    for one in databases:
        await one.close()


@pytest.mark.parametrize("service", ["registry_svc", "build_svc", "deploy_svc", "invoke_svc"])
async def test_a_schema_that_is_up_to_date_needs_no_alembic(service: str, database_url: str) -> None:
    directory = Path(__file__).parents[3] / service / "migrations"
    assert newest(directory) == set(ScriptDirectory(str(directory)).get_heads())
    database = Database(database_url, schema=service)
    async with database.write() as conn:
        if not database.is_sqlite:
            await conn.execute(sa.schema.CreateSchema(service))
        assert not await conn.run_sync(is_current, directory)
    await database.migrate(directory)
    async with database.read() as conn:
        assert await conn.run_sync(is_current, directory)
    await database.close()


async def test_a_failed_write_leaves_nothing(database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with database.write() as conn:
            await conn.execute(things.insert().values(id=1))
            await next_version(conn)
            raise ZeroDivisionError
    async with database.read() as conn:
        assert (await conn.execute(sa.select(sa.func.count()).select_from(things))).scalar_one() == 0
        assert await current_version(conn) == 0


async def test_versions_are_dense_and_committed_in_order(database: Database, database_url: str) -> None:
    other = Database(database_url, schema="things_svc")

    async def add(db: Database) -> None:
        async with db.write() as conn:
            await conn.execute(things.insert().values(id=await next_version(conn)))

    async def watch() -> list[int]:
        seen: list[int] = []
        while len(seen) < 60:
            async with database.read() as conn:
                after = things.c.id > (seen[-1] if seen else 0)
                rows = await conn.execute(sa.select(things.c.id).where(after).order_by(things.c.id))
                seen.extend(rows.scalars())
        return seen

    seen, *_ = await asyncio.gather(watch(), *(add(db) for db in (database, other) * 30))
    assert seen == list(range(1, 61))
    await other.close()


async def test_a_read_sees_one_snapshot(database: Database) -> None:
    count = sa.select(sa.func.count()).select_from(things)
    async with database.read() as reader:
        before = (await reader.execute(count)).scalar_one()
        async with database.write() as conn:
            await conn.execute(things.insert().values(id=1))
        assert (await reader.execute(count)).scalar_one() == before


async def test_times_come_back_as_utc(database: Database) -> None:
    at = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    async with database.write() as conn:
        await conn.execute(things.insert().values(id=1, at=at))
        with pytest.raises(StatementError, match="naive"):
            await conn.execute(things.insert().values(id=2, at=datetime(2026, 3, 1)))
    async with database.read() as conn:
        got = (await conn.execute(sa.select(things.c.at))).scalar_one()
    assert got == at and got.tzinfo is UTC


async def test_transaction_returns_what_the_work_returned(database: Database) -> None:
    assert await database.transaction(next_version) == 1
    assert await database.transaction(next_version) == 2


async def test_cancelled_callers_take_no_connection_and_no_lock_along(database: Database) -> None:
    async def write() -> None:
        await database.transaction(next_version)

    async def read() -> None:
        async with database.read() as conn:
            await current_version(conn)

    moments = random.Random(7)
    ended = 0
    for _ in range(60):
        tasks = [asyncio.ensure_future(work()) for work in (write, read) * 8]
        for task in tasks[::3]:
            await asyncio.sleep(moments.random() * 0.002)
            task.cancel()
        async with asyncio.timeout(60):
            await asyncio.wait(tasks)
        ended += sum(1 for task in tasks[::2] if not task.cancelled())
        assert not [task for task in tasks if not task.cancelled() and task.exception()]
    async with database.read() as conn:
        # One that was cancelled while it committed may have been too late.
        assert ended <= await current_version(conn) <= 60 * 8


async def test_more_callers_than_connections_have_their_turns(database_url: str, database: Database) -> None:
    small = Database(database_url, schema="things_svc", pool_size=2)
    try:
        async with small.read() as first, small.read() as second:
            assert await current_version(first) == await current_version(second) == 0
            waiting = [asyncio.ensure_future(small.transaction(next_version)) for _ in range(5)]
        assert sorted(await asyncio.gather(*waiting)) == [1, 2, 3, 4, 5]
    finally:
        await small.close()


async def test_who_waits_too_long_for_a_connection_is_told(database_url: str, database: Database) -> None:
    """As of a database that does not answer; nothing is lost by it."""
    small = Database(database_url, schema="things_svc", pool_size=1, wait_s=0.05)
    at_once = 1 if small.is_sqlite else 2

    async def held() -> int:
        """How many read at once before one is told that there is no connection left."""
        async with AsyncExitStack() as stack:
            for count in range(10):
                try:
                    await stack.enter_async_context(small.read())
                except DatabaseUnavailable as error:
                    assert str(error) == str(DatabaseUnavailable())
                    with pytest.raises(DatabaseUnavailable):
                        await small.ping()
                    return count
        raise AssertionError("there is no end of connections")

    try:
        for _ in range(3):
            assert await held() == at_once
        async with AsyncExitStack() as stack:
            for _ in range(at_once):
                await stack.enter_async_context(small.write(in_turn=False))
            with pytest.raises(DatabaseUnavailable):
                async with small.write(in_turn=False):
                    raise AssertionError("there was one more connection")
        assert await small.transaction(next_version) == 1
        await small.ping()
    finally:
        await small.close()


async def test_a_database_has_as_many_connections_as_it_says(database: Database) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(5 if database.is_sqlite else 10):
            await stack.enter_async_context(database.read())
