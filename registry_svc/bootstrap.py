"""What is done without a running mesh: migrations, and the first API key."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from fnmesh.registry.v1.api_key_pb2 import SCOPE_ADMIN
from mesh.clock import SystemClock
from mesh.db import Database
from mesh.main import StartupError
from registry_svc.api_keys import new_key
from registry_svc.key_store import KeyStore
from registry_svc.settings import RegistrySettings

SCHEMA = "registry"
MIGRATIONS = Path(__file__).parent / "migrations"
NO_ADMIN_KEY = 3
"""Exit code of `has-admin-key` where there is none; the command line knows it too."""


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
        key, secret = new_key(display_name, [SCOPE_ADMIN], "", SystemClock().now())
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


async def has_admin_key(settings: RegistrySettings) -> bool:
    """Whether there is a good key with the scope admin that is good for all workspaces."""
    database = await open_database(settings)
    now = SystemClock().now()
    try:
        before = None
        while True:
            async with database.read() as conn:
                keys = await KeyStore().page(conn, workspace_uid="", before=before, limit=1000)
            if any(SCOPE_ADMIN in key.scopes and not key.workspace_uid and key.good_at(now) for key in keys):
                return True
            if not keys:
                return False
            before = (keys[-1].create_time, keys[-1].key_id)
    finally:
        await database.close()


async def has_admin_key_command(settings: RegistrySettings, arguments: Sequence[str]) -> None:
    """`has-admin-key`: ends with NO_ADMIN_KEY where there is none. `fnmesh up` asks before others reach it."""
    if not await has_admin_key(settings):
        raise StartupError(
            "there is no API key with the scope admin: make one with create-admin-key.", exit_code=NO_ADMIN_KEY
        )
