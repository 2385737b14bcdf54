"""A database that goes away is UNAVAILABLE, in one sentence, and is used again when it is back."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from mesh.db import Database, DatabaseUnavailable
from mesh.errors import Unavailable

_CUT = sa.text("SELECT pg_terminate_backend(pg_backend_pid())")


async def test_a_connection_that_is_cut(postgres_url: str) -> None:
    database = Database(postgres_url, schema="lost")
    try:
        for transaction in (database.read, database.write):
            with pytest.raises(DatabaseUnavailable) as lost:
                async with transaction() as conn:
                    await conn.execute(_CUT)
            assert isinstance(lost.value, Unavailable)
            assert lost.value.reason == "DATABASE_UNAVAILABLE"
            await database.ping()
    finally:
        await database.close()


async def test_a_transaction_is_done_again_when_its_connection_was_cut(postgres_url: str) -> None:
    database, tries = Database(postgres_url, schema="lost"), []

    async def work(conn: sa.ext.asyncio.AsyncConnection) -> int:
        tries.append(1)
        if len(tries) == 1:
            await conn.execute(_CUT)
        return int((await conn.execute(sa.text("SELECT 7"))).scalar_one())

    try:
        assert await database.transaction(work) == 7
    finally:
        await database.close()
    assert len(tries) == 2


async def test_a_server_that_is_not_there() -> None:
    database = Database("postgresql://nobody:hush@127.0.0.1:1/nothing", schema="lost")
    try:
        for transaction in (database.read, database.write):
            with pytest.raises(DatabaseUnavailable) as lost:
                async with transaction():
                    pass
            assert "hush" not in str(lost.value)
    finally:
        await database.close()


async def test_errors_of_the_statement_stay_what_they_are(postgres_url: str) -> None:
    database = Database(postgres_url, schema="lost")
    try:
        with pytest.raises(sa.exc.ProgrammingError):
            async with database.write() as conn:
                await conn.execute(sa.text("SELECT * FROM not_there"))
    finally:
        await database.close()
