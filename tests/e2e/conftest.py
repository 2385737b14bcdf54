"""The whole mesh, once for each module, and functions to deploy to it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from fnmesh.client import Mesh
from tests.support.running_mesh import RunningMesh

MakeSource = Callable[..., Path]


@pytest.fixture(scope="session")
def mesh() -> Iterator[RunningMesh]:
    """A mesh without authentication, whose functions run as processes."""
    running = RunningMesh(environ={"FNMESH_LOG_LEVEL": "debug"})
    try:
        yield running.start()
        assert running.stop() == 0, running.errors()
        assert running.processes() == []
    finally:
        running.remove()


@pytest.fixture
def client(mesh: RunningMesh) -> Iterator[Mesh]:
    """The client, connected to `mesh`."""
    with Mesh(mesh.server) as connected:
        yield connected


@pytest.fixture
def http(mesh: RunningMesh) -> Iterator[httpx.Client]:
    """HTTP to `mesh`."""
    with httpx.Client(base_url=mesh.url, timeout=30, trust_env=False) as session:
        yield session


@pytest.fixture
def make_source(tmp_path: Path) -> MakeSource:
    """Writes a source: `make_source("hello", **{"handler.py": "..."})`; dedented; returns its directory."""

    def make(name: str, **files: str) -> Path:
        root = tmp_path / name
        root.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (root / file).write_text(textwrap.dedent(text))
        return root

    return make
