"""The world of the contract tests, on directories that a build's user can pass through."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.contract.build_svc.build_world import Client, World, running_world
from tests.support import spin_toolchain


@pytest.fixture
def data_dir() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="fnm-build-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def spin_home() -> Path:
    """The Spin toolchain and the component of examples/hello_spin, for `spin_toolchain.lend`."""
    return spin_toolchain.ensure()


@pytest.fixture
async def world_and_client(data_dir: Path, tmp_run_dir: Path) -> AsyncIterator[tuple[World, Client]]:
    async with running_world(data_dir, tmp_run_dir) as both:
        yield both


@pytest.fixture
def world(world_and_client: tuple[World, Client]) -> World:
    return world_and_client[0]


@pytest.fixture
def client(world_and_client: tuple[World, Client]) -> Client:
    return world_and_client[1]
