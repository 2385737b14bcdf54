"""A mesh that is given bad input, and a function beside it that must not notice.

A module asks for the mesh by `mesh`, and for a watch over the bystander in each of its tests by
`pytestmark = pytest.mark.usefixtures("undisturbed")`. All modules share one mesh; where one needs settings of its own,
it has a mesh of its own, with the module-scoped fixture `mesh_environ`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from fnmesh.client import Mesh
from tests.support import processes
from tests.support.bad_function import CRASHING
from tests.support.mesh_logs import pytest_runtest_makereport as pytest_runtest_makereport
from tests.support.plain_http import PLAIN
from tests.support.running_mesh import RunningMesh, orderly_mesh
from tests.support.sources import MakeSource, source_maker

_LOUD = {"FNMESH_LOG_LEVEL": "debug"}
BYSTANDER = "import os\n\n\ndef handler(event, context):\n    return {'pid': os.getpid()}\n"


@pytest.fixture(scope="module")
def mesh_environ() -> Mapping[str, str]:
    """Settings of this module's mesh, by the names of their variables; with those here it is the shared one."""
    return CRASHING


@pytest.fixture(scope="package")
def shared_mesh() -> Iterator[RunningMesh]:
    """The mesh of the modules that need no settings of their own."""
    with orderly_mesh(_LOUD | CRASHING) as running:
        yield running


@pytest.fixture(scope="module")
def mesh(mesh_environ: Mapping[str, str], request: pytest.FixtureRequest) -> Iterator[RunningMesh]:
    """A mesh without authentication, whose functions run as processes; it stops in order and leaves nothing."""
    if mesh_environ == CRASHING:
        shared: RunningMesh = request.getfixturevalue("shared_mesh")
        yield shared
    else:
        with orderly_mesh({**_LOUD, **mesh_environ}) as running:
            yield running


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


@pytest.fixture(scope="module")
def bystander(mesh: RunningMesh, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a function that answers `{"pid": its process}`."""
    source = source_maker(tmp_path_factory.mktemp("bystander"))("bystander", **{"handler.py": BYSTANDER})
    mesh.cli("deploy", str(source), "--target", "process")
    return "bystander"


@pytest.fixture
def undisturbed(mesh: RunningMesh, bystander: str, http: httpx.Client) -> Iterator[None]:
    """After the test the bystander still answers, from the same process, and no service was restarted."""
    before = _seen(mesh, bystander, http)
    yield
    assert _seen(mesh, bystander, http) == before


@pytest.fixture(scope="module")
def all_undisturbed(mesh: RunningMesh, bystander: str) -> Iterator[None]:
    """`undisturbed`, for a module of hundreds of quick tests: looked at once, after all of them."""
    with httpx.Client(base_url=mesh.url, timeout=30, trust_env=False, verify=PLAIN) as session:
        before = _seen(mesh, bystander, session)
        yield
        assert _seen(mesh, bystander, session) == before


def _seen(mesh: RunningMesh, bystander: str, http: httpx.Client) -> tuple[object, ...]:
    answer = http.get(f"/api/{bystander}")
    assert answer.status_code == 200, answer.text
    return answer.json()["pid"], frozenset(processes.children(mesh.pid))
