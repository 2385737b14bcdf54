"""Whole meshes that modules share, and functions to deploy to them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fnmesh.client import Mesh
from tests.support.mesh_logs import pytest_runtest_makereport as pytest_runtest_makereport
from tests.support.plain_http import PLAIN
from tests.support.running_mesh import RunningMesh, orderly_mesh
from tests.support.sources import MakeSource as MakeSource
from tests.support.sources import source_maker


@pytest.fixture(scope="package")
def mesh() -> Iterator[RunningMesh]:
    """A mesh without authentication, whose functions run as processes."""
    environ = {
        "FNMESH_LOG_LEVEL": "debug",
        "FNMESH_DEPLOY_USAGE_INTERVAL_S": "1",
        "FNMESH_CLUSTER_ALIASES": "softbank-execution-engine",
    }
    with orderly_mesh(environ) as running:
        yield running


@pytest.fixture(scope="package")
def keyed() -> Iterator[tuple[RunningMesh, str]]:
    """A mesh that asks for keys, on loopback, and its admin key."""
    running = RunningMesh(environ={"FNMESH_AUTH": "keys"})
    try:
        key = running.first_key()
        yield running.start(), key
        assert running.stop() == 0, running.errors()
    finally:
        running.remove()


@pytest.fixture
def admin(keyed: tuple[RunningMesh, str]) -> Iterator[Mesh]:
    """The client, connected to `keyed` as its admin."""
    with Mesh(keyed[0].server, api_key=keyed[1]) as connected:
        yield connected


@pytest.fixture
def client(mesh: RunningMesh) -> Iterator[Mesh]:
    """The client, connected to `mesh`."""
    with Mesh(mesh.server) as connected:
        yield connected


@pytest.fixture
def http(mesh: RunningMesh) -> Iterator[httpx.Client]:
    """HTTP to `mesh`."""
    with httpx.Client(base_url=mesh.url, timeout=30, trust_env=False, verify=PLAIN) as session:
        yield session


@pytest.fixture
def make_source(tmp_path: Path) -> MakeSource:
    """Writes a source and returns its directory: tests/support/sources.py."""
    return source_maker(tmp_path)
