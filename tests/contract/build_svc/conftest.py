"""A build_svc for each test, beside a fake registry, both over unix sockets; or its tables only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from build_svc.app import MIGRATIONS
from mesh.db import Database
from tests.contract.build_svc.build_rows import Rows
from tests.contract.build_svc.build_world import Client, World, running_world


@pytest.fixture
async def world_and_client(tmp_path: Path, tmp_run_dir: Path) -> AsyncIterator[tuple[World, Client]]:
    async with running_world(tmp_path, tmp_run_dir) as both:
        yield both


@pytest.fixture
def world(world_and_client: tuple[World, Client]) -> World:
    return world_and_client[0]


@pytest.fixture
def client(world_and_client: tuple[World, Client]) -> Client:
    return world_and_client[1]


@pytest.fixture
async def rows(database_url: str) -> AsyncIterator[Rows]:
    database = Database(database_url, schema="build")
    await database.migrate(MIGRATIONS)
    try:
        yield Rows(database)
    finally:
        await database.close()
