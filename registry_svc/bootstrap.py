"""What is done without a running mesh: migrations, and the first API key."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from mesh.clock import SystemClock
from mesh.db import Database
from mesh.main import StartupError
from registry_svc.api_keys import new_key
from registry_svc.key_store import KeyStore
from registry_svc.settings import RegistrySettings

SCHEMA = "registry"
MIGRATIONS = Path(__file__).parent / "migrations"
_ADMIN = 1


async def open_database(settings: RegistrySettings) -> Database:
    """The registry's database, migrated. Raises StartupError."""
    async with AsyncExitStack() as stack:
        try:
            database = Database(settings.database_url, schema=SCHEMA)
            stack.push_async_callback(database.close)
            await database.migrate(MIGRATIONS)
        except Exception as error:
            raise StartupError(f"the database cannot be used (FNMESH_DATABASE_URL): {error}") from error
        stack.pop_all()
        return database


async def migrate(settings: RegistrySettings) -> None:
    """Brings the tables up to date."""
    database = await open_database(settings)
    await database.close()


async def create_admin_key(settings: RegistrySettings, display_name: str = "admin") -> str:
    """Makes an API key with the scope admin straight in the database; returns its secret."""
    database = await open_database(settings)
    try:
        key, secret = new_key(display_name, [_ADMIN], "", SystemClock().now())
        async with database.write() as conn:
            await KeyStore().insert(conn, key)
    finally:
        await database.close()
    return secret


async def create_admin_key_command(settings: RegistrySettings, arguments: Sequence[str]) -> None:
    """`create-admin-key [--name NAME]`: prints the secret, once."""
    parser = argparse.ArgumentParser(prog="python -m registry_svc create-admin-key")
    parser.add_argument("--name", default="admin", help="what the key is for")
    print(await create_admin_key(settings, parser.parse_args(arguments).name))
