"""Shells complete the names of functions by asking the mesh."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import MakeSource
from tests.support.eventually import eventually_sync
from tests.support.running_mesh import RunningMesh
from tests.support.shells import SHELLS, offers


@pytest.fixture
def named(mesh: RunningMesh, make_source: MakeSource) -> RunningMesh:
    """The mesh with functions that begin with `tab-`, one of them in another workspace."""
    source = make_source("tab-one", **{"handler.py": "def handler(event): return 1\n"})
    for more in ((), ("--name", "tab-two"), ("--name", "tab-three", "--path", "tab/3", "--workspace", "tabs")):
        mesh.cli("deploy", str(source), "--target", "process", *more)
    return mesh


@pytest.mark.parametrize("shell", SHELLS)
def test_functions_are_offered(named: RunningMesh, shell: str, tmp_path: Path) -> None:
    def offered(line: str) -> list[str]:
        return offers(shell, line, home=tmp_path, environ=named.environ | {"FNMESH_SERVER": named.server})

    # On a busy machine the shell waits no longer than it should, and has none: the next Tab has them.
    eventually_sync(lambda: offered("fnmesh show tab-") == ["tab-one", "tab-two"], 60)
    eventually_sync(lambda: offered("fnmesh secret set --workspace tabs tab-") == ["tab-three"], 60)
