"""Databases of PostgreSQL that are used again: to empty one takes a tenth of what it takes to make and migrate one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from mesh.db import Database
from tests.support.postgres import PostgresServer
from tests.support.running_mesh import ROOT

_SERVICES = ("registry", "build", "deploy", "invoke")
_SCHEMAS = ", ".join(f"'{service}'" for service in _SERVICES)
_TABLES = f"SELECT schemaname AS schema, tablename AS name FROM pg_tables WHERE schemaname IN ({_SCHEMAS}) "
# What the migrations themselves put into tables, to be there again whenever the database is lent.
_KEEP = f"""
DO $$
DECLARE one record; filled boolean;
BEGIN
  CREATE SCHEMA kept;
  FOR one IN {_TABLES} LOOP
    EXECUTE format('SELECT EXISTS (SELECT FROM %I.%I)', one.schema, one.name) INTO filled;
    IF filled THEN
      EXECUTE format('CREATE TABLE kept.%I AS TABLE %I.%I', one.schema || '.' || one.name, one.schema, one.name);
    END IF;
  END LOOP;
END $$
"""
_EMPTY = f"""
DO $$
DECLARE one record;
BEGIN
  SET LOCAL session_replication_role = replica;  -- in any order, whatever refers to what
  PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid();
  FOR one IN SELECT nspname AS name FROM pg_namespace
    WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public', 'kept', {_SCHEMAS})
  LOOP
    EXECUTE format('DROP SCHEMA %I CASCADE', one.name);
  END LOOP;
  FOR one IN {_TABLES} LOOP
    EXECUTE format('DELETE FROM %I.%I', one.schema, one.name);
  END LOOP;
  FOR one IN SELECT split_part(tablename, '.', 1) AS schema, split_part(tablename, '.', 2) AS name, tablename AS kept
    FROM pg_tables WHERE schemaname = 'kept'
  LOOP
    EXECUTE format('INSERT INTO %I.%I TABLE kept.%I', one.schema, one.name, one.kept);
  END LOOP;
END $$
"""


class LentDatabases:
    """Databases that have all tables of the services, one lent at a time to each who asks."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._idle: list[str] = []
        self._made = ExitStack()

    @contextmanager
    def one(self) -> Iterator[str]:
        """The URL of one that is as its migrations leave it."""
        url = self._idle.pop() if self._idle else self._make()
        yield url
        self._server.execute(_EMPTY, url)
        self._idle.append(url)  # where that failed it is not used again

    def drop(self) -> None:
        """Removes them all."""
        self._made.close()

    def _make(self) -> str:
        url = self._made.enter_context(self._server.database())
        with ThreadPoolExecutor(1) as thread:  # has no loop, whether or not the caller has one
            thread.submit(asyncio.run, _migrate(url)).result()
        self._server.execute(_KEEP, url)
        return url


async def _migrate(url: str) -> None:
    for service in _SERVICES:
        database = Database(url, schema=service)
        await database.migrate(ROOT / f"{service}_svc" / "migrations")
        await database.close()
