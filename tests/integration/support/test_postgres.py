"""The tests' own PostgreSQL: each test has a database of its own, and nothing of it stays."""

from __future__ import annotations

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.support.postgres import PostgresServer


async def test_a_database_url_is_one_sqlalchemy_can_use(database_url: str) -> None:
    engine = create_async_engine(database_url)
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE things (name VARCHAR(10))"))
        await connection.execute(text("INSERT INTO things VALUES ('one')"))
        assert (await connection.scalar(text("SELECT count(*) FROM things"))) == 1
    await engine.dispose()


async def test_a_database_is_dropped_even_while_somebody_is_connected(
    postgres_server: PostgresServer,
) -> None:
    with postgres_server.database() as url:
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    name = url.rpartition("/")[2]
    watcher = await asyncpg.connect(postgres_server.url("postgres", driver="postgresql"))
    assert await watcher.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", name) == 0
    await watcher.close()
    connection.terminate()
