"""Databases: SQLite (a file per service) or PostgreSQL (a schema per service), behind one face.

Writers of a service take turns on both (BEGIN IMMEDIATE; an advisory lock on the schema), so a write
transaction sees everything committed before it and needs no retry for reasons of isolation. Reads see one
snapshot.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from mesh import migrations
from mesh.db_connections import Connections, NoneFree, WholeEngine
from mesh.errors import Unavailable
from mesh.loops import Backoff

if TYPE_CHECKING:
    from mesh.db_session import Session

T = TypeVar("T")
_BUSY_BACKOFF = Backoff(first_s=0.02, limit_s=0.5)
_BUSY_ATTEMPTS = 12
_WAIT_S = 60.0
# A plan that was made while a table was empty would stay in use when there are 100,000 rows in it, until somebody
# analyzes the table: 40 times as long for a claim from the queue of jobs.
_PLANNING = {"plan_cache_mode": "force_custom_plan", "jit": "off"}


class UtcTime(sa.types.TypeDecorator[datetime]):
    """An aware UTC datetime, kept to the microsecond. Naive ones are refused."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


counters = sa.Table(
    "mesh_counters",
    sa.MetaData(),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)
"""Made by `Database.migrate`; see `next_version`."""


class DatabaseUnavailable(Unavailable):
    """The database is not there, starts or stops, or has cut the connection."""

    def __init__(self) -> None:
        super().__init__(
            "DATABASE_UNAVAILABLE",
            "The database does not answer; try again, and see that it runs where FNMESH_DATABASE_URL says.",
            retry_after_s=1,
        )


class Database:
    """The tables of one service. Make it, `await migrate(...)`, use it, `await close()`."""

    def __init__(self, url: str, *, schema: str, pool_size: int = 5, wait_s: float = _WAIT_S) -> None:
        """`url` is `sqlite:///path` or `postgresql://user:password@host/name` (`?host=/dir` for a socket).

        `pool_size` connections are kept: on SQLite that many read, and another one writes; on PostgreSQL as many
        again are opened when they are needed. Whoever gets none within `wait_s` is told DatabaseUnavailable.
        """
        self.schema = schema
        parsed = self._url = make_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        if self.is_sqlite:
            path = parsed.database
            if not path or path == ":memory:":
                raise ValueError("SQLite needs a file")
            Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._writer = _sqlite_engine(parsed, begin="BEGIN IMMEDIATE", pool_size=1)
            self._reader = _sqlite_engine(parsed, begin="BEGIN", pool_size=pool_size)
        elif parsed.get_backend_name() == "postgresql":
            self._writer = self._reader = create_async_engine(
                parsed.set(drivername="postgresql+asyncpg"),
                pool_size=pool_size,
                max_overflow=pool_size,
                pool_pre_ping=True,
                connect_args={
                    "server_settings": {**_PLANNING, "search_path": schema, "application_name": f"fnmesh-{schema}"}
                },
            )
        else:
            raise ValueError(f"'{parsed.get_backend_name()}' is neither sqlite nor postgresql")
        self._reading = Connections(pool_size if self.is_sqlite else 2 * pool_size, wait_s=wait_s)
        self._writing = Connections(1, wait_s=wait_s) if self.is_sqlite else self._reading
        self._lock_key = int.from_bytes(hashlib.sha256(f"fnmesh {schema}".encode()).digest()[:8], signed=True)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a read-only transaction that sees one snapshot. Raises DatabaseUnavailable."""
        with _told_if_lost():
            async with self._reading.one(self._reading_begun) as conn:
                yield conn

    @asynccontextmanager
    async def write(self, *, in_turn: bool = True) -> AsyncIterator[AsyncConnection]:
        """A connection in a write transaction: committed at the end, rolled back where anything is raised.

        Only one at a time in the whole service, also across processes: do nothing slow in it, and never open
        another one within it. Without `in_turn` PostgreSQL runs it beside others (READ COMMITTED): for work whose
        rows are locked or compared one by one. Raises DatabaseUnavailable; then it is not known whether a commit
        that had begun was done.
        """
        with _told_if_lost():
            async with self._writing.one(self._begun) as conn:
                if in_turn and not self.is_sqlite:
                    await conn.execute(sa.select(sa.func.pg_advisory_xact_lock(self._lock_key)))
                yield conn
                await conn.commit()

    async def transaction(
        self, work: Callable[[AsyncConnection], Awaitable[T]], *, attempts: int = 3, in_turn: bool = True
    ) -> T:
        """Runs `work` in a write transaction, again where the database was busy or the connection was lost."""
        for tried in range(1, attempts + 1):
            try:
                async with self.write(in_turn=in_turn) as conn:
                    return await work(conn)
            except (DBAPIError, DatabaseUnavailable) as error:
                if tried == attempts or not (isinstance(error, DatabaseUnavailable) or _is_busy(error)):
                    raise
                await asyncio.sleep(_BUSY_BACKOFF.delay_s(tried))
        raise AssertionError("unreachable")

    async def _reading_begun(self) -> AsyncConnection:
        """A connection whose read-only transaction has begun."""
        conn = await self._connected(self._reader)
        try:
            if not self.is_sqlite:
                await conn.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            await conn.begin()
        except BaseException:
            await conn.close()
            raise
        return conn

    async def _begun(self) -> AsyncConnection:
        """A connection whose write transaction has begun; leaving the connection rolls it back.

        Waits for other processes beyond SQLite's busy timeout, which does not cover all that can be locked
        (the first switch to WAL, for one).
        """
        for tried in range(1, _BUSY_ATTEMPTS + 1):
            conn: AsyncConnection | None = None
            try:
                conn = await self._connected(self._writer)
                await conn.begin()
            except BaseException as error:
                if conn is not None:
                    await conn.close()
                if tried == _BUSY_ATTEMPTS or not isinstance(error, DBAPIError) or not _is_busy(error):
                    raise
                await asyncio.sleep(_BUSY_BACKOFF.delay_s(tried))
            else:
                return conn
        raise AssertionError("unreachable")

    @staticmethod
    async def _connected(engine: AsyncEngine) -> AsyncConnection:
        """A connection. Raises DatabaseUnavailable where the database cannot be reached."""
        try:
            return await engine.connect()
        except OSError as error:
            raise DatabaseUnavailable from error

    async def migrate(self, migrations_dir: Path) -> None:
        """Brings the schema up to the newest of the migrations (`<dir>/versions/*.py`), in one transaction.

        Safe when several processes do it at once. The directory needs no env.py. Raises RuntimeError where
        the database is newer than this code.
        """
        if not self.is_sqlite:
            with _told_if_lost():
                async with self._writing.one(lambda: self._connected(self._writer)) as conn:
                    await conn.execute(sa.select(sa.func.pg_advisory_xact_lock(self._lock_key)))
                    await conn.execute(sa.schema.CreateSchema(self.schema, if_not_exists=True))
                    await conn.commit()
        async with self.write() as conn:
            if not await conn.run_sync(migrations.is_current, migrations_dir):
                await conn.run_sync(migrations.upgrade, migrations_dir, counters)

    async def ping(self) -> None:
        """Raises where the database cannot be reached."""
        with _told_if_lost():
            async with self._reading.one(lambda: self._connected(self._reader)) as conn:
                await conn.execute(sa.select(1))

    def session(self, purpose: str) -> AbstractAsyncContextManager[Session]:
        """A connection of its own, for locks and LISTEN (PostgreSQL only). It raises DatabaseUnavailable when lost."""
        from mesh.db_session import session  # now: its driver is not loaded where there is SQLite only

        _, where = self._writer.dialect.create_connect_args(self._url)
        return session(where, f"fnmesh-{self.schema} {purpose}", lambda _: DatabaseUnavailable())

    async def close(self) -> None:
        """Closes all connections."""
        for connections in {self._reading, self._writing}:
            await connections.ended()
        await self._reader.dispose()
        if self._writer is not self._reader:
            await self._writer.dispose()


async def next_version(conn: AsyncConnection, name: str = "version") -> int:
    """The next number of a counter, from 1, in the caller's write transaction.

    Whoever sees version n has everything up to n to see: writers take turns, unlike with a sequence.
    """
    insert = sa.text(
        "INSERT INTO mesh_counters (name, value) VALUES (:name, 1) "
        "ON CONFLICT (name) DO UPDATE SET value = mesh_counters.value + 1 RETURNING value"
    )
    return int((await conn.execute(insert, {"name": name})).scalar_one())


async def current_version(conn: AsyncConnection, name: str = "version") -> int:
    """The number last given out; 0 before the first."""
    query = sa.select(counters.c.value).where(counters.c.name == name)
    return int((await conn.execute(query)).scalar_one_or_none() or 0)


async def raise_counter(conn: AsyncConnection, name: str, value: int) -> None:
    """Sets a counter to a number unless it is higher already, in the caller's write transaction."""
    upsert = sa.text(
        "INSERT INTO mesh_counters (name, value) VALUES (:name, :value) "
        "ON CONFLICT (name) DO UPDATE SET value = :value WHERE mesh_counters.value < :value"
    )
    await conn.execute(upsert, {"name": name, "value": value})


def _sqlite_engine(url: URL, *, begin: str, pool_size: int) -> AsyncEngine:
    adapted = create_async_engine(
        url.set(drivername="sqlite+aiosqlite"),
        pool_size=pool_size,
        max_overflow=0,
        connect_args={"timeout": 5},
    )
    engine = WholeEngine(adapted.sync_engine)

    @sa.event.listens_for(engine.sync_engine, "connect")
    def _connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # sqlite3 must not begin transactions by itself
        cursor = connection.cursor()
        for pragma in ("busy_timeout=5000", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.execute("PRAGMA journal_mode")
        if cursor.fetchone()[0] != "wal":
            cursor.execute("PRAGMA journal_mode=WAL")
        cursor.close()

    @sa.event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


@contextmanager
def _told_if_lost() -> Iterator[None]:
    """A connection that is lost within, or never to be had, is UNAVAILABLE to the caller, and no error of this mesh."""
    try:
        yield
    except Exception as error:
        if _is_lost(error):
            raise DatabaseUnavailable from error
        raise


def _is_lost(error: Exception) -> bool:
    """Whether PostgreSQL has gone, starts or stops (SQLSTATE classes 08 and 57P), or no connection is left: none of
    ours, or none of its own (53300)."""
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return True
        error = error.orig if isinstance(error.orig, Exception) else error
    if isinstance(error, ConnectionError | NoneFree):
        return True
    return str(getattr(error, "sqlstate", "")).startswith(("08", "57P", "53300"))


def _is_busy(error: DBAPIError) -> bool:
    cause = error.orig
    if isinstance(cause, sqlite3.OperationalError):
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return getattr(cause, "sqlstate", "") in ("40001", "40P01", "55P03")
