"""Fixtures of all tests, and the policy for what a machine lacks (tests/support/require.py).

`docker_host`, `docker_base_images`, `postgres_url`, `database_url`, `tmp_run_dir`; a marker for each capability.
Servers are started when the first test asks, shared by all xdist workers, and stopped when the
run ends; FNMESH_TEST_KEEP=1 leaves them running for the next run.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import base_images, require
from tests.support import docker_host as docker_hosts
from tests.support.docker_daemon import DockerDaemonError
from tests.support.leases import run_pid
from tests.support.lent_databases import LentDatabases
from tests.support.postgres import PostgresError, PostgresServer
from tests.support.state_dir import file_lock, state_dir

_FIXTURE_NEEDS = {
    "docker_host": "docker",
    "docker_base_images": "docker",
    "docker_python_image": "docker",
    "docker_node_image": "docker",
    "postgres_server": "postgres",
    "postgres_url": "postgres",
}
_SLOW_FIRST = ("badinput", "integration", "contract", "unit")


def pytest_configure(config: pytest.Config) -> None:
    require.required()  # a name that is unknown ends the run here
    os.environ.pop("KUBECONFIG", None)  # deploy_svc would take it: tests name the cluster they mean
    if _is_controller(config):
        os.environ["FNMESH_TEST_RUN"] = str(os.getpid())  # workers inherit it


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test that uses such a fixture has its marker, so that -m "not docker" means what it says.

    Where several workers share the tests, slow ones come first, so that all have something to do until the end.
    """
    if not _is_controller(config):
        items.sort(key=_folder_rank)
    for item in items:
        for fixture in getattr(item, "fixturenames", ()):
            if fixture in _FIXTURE_NEEDS:
                item.add_marker(_FIXTURE_NEEDS[fixture])


def _folder_rank(item: pytest.Item) -> int:
    """The place of a test's folder in _SLOW_FIRST; others, such as e2e, come before all of these."""
    folders = set(item.nodeid.split("/")[:-1])
    return next((rank for rank, folder in enumerate(_SLOW_FIRST) if folder in folders), -1)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for capability in require.CAPABILITIES:
        if item.get_closest_marker(capability):
            require.need(capability)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what could not be run here, by what was missing."""
    tests: dict[str, list[str]] = {}
    for report in terminalreporter.getreports("skipped"):
        reason = require.reason_in(str(report.longrepr[2])) if isinstance(report.longrepr, tuple) else None
        if reason is not None:
            tests.setdefault(reason, []).append(report.nodeid)
    if not tests:
        return
    terminalreporter.section("could not be run here", yellow=True, bold=True)
    for reason, names in sorted(tests.items()):
        terminalreporter.line(f"{reason} ({len(names)} tests)", yellow=True)
        for name in sorted(names):
            terminalreporter.line(f"  {name}")


def pytest_unconfigure(config: pytest.Config) -> None:
    if _is_controller(config) and os.environ.get("FNMESH_TEST_KEEP") != "1":
        docker_hosts.release()
        PostgresServer().release(run_pid())


def _is_controller(config: pytest.Config) -> bool:
    return not hasattr(config, "workerinput")


@pytest.fixture(scope="session")
def docker_host() -> str:
    """The DOCKER_HOST of a daemon that answers."""
    try:
        return docker_hosts.obtain()
    except DockerDaemonError as error:
        require.missing("docker", str(error))


@pytest.fixture(scope="session")
def docker_python_image(docker_host: str) -> str:
    """The name of the Python base image at `docker_host`; pip in it reaches the package registry."""
    with file_lock(state_dir() / "python-image.lock"):
        return base_images.ensure(base_images.IMAGES["python"], docker_host)


@pytest.fixture(scope="session")
def docker_node_image(docker_host: str) -> str:
    """The name of the Node base image at `docker_host`; npm in it reaches the package registry."""
    require.need("node")
    with file_lock(state_dir() / "node-image.lock"):
        return base_images.ensure(base_images.IMAGES["node"], docker_host)


@pytest.fixture(scope="session")
def docker_base_images(docker_python_image: str, docker_node_image: str) -> dict[str, str]:
    """Both base images' names, by runtime ("python", "node"); needs Node on this machine."""
    return {"python": docker_python_image, "node": docker_node_image}


@pytest.fixture(scope="session")
def docker_environ(docker_host: str, docker_base_images: dict[str, str]) -> dict[str, str]:
    """The settings of a mesh that builds and runs at the tests' daemon."""
    return {
        "DOCKER_HOST": docker_host,
        "FNMESH_BUILD_PYTHON_IMAGE": docker_base_images["python"],
        "FNMESH_BUILD_NODE_IMAGE": docker_base_images["node"],
    }


@pytest.fixture(scope="session")
def postgres_server() -> PostgresServer:
    """The running server; tests want `postgres_url`."""
    server = PostgresServer()
    try:
        server.start(for_run=run_pid())
    except PostgresError as error:
        require.missing("postgres", str(error))
    return server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A fresh, empty database (postgresql+asyncpg://...), dropped afterwards."""
    with postgres_server.database() as url:
        yield url


@pytest.fixture(scope="session")
def lent_databases(postgres_server: PostgresServer) -> Iterator[LentDatabases]:
    """Databases that tests use one after the other."""
    databases = LentDatabases(postgres_server)
    yield databases
    databases.drop()


@pytest.fixture
def migrated_postgres_url(lent_databases: LentDatabases) -> Iterator[str]:
    """A database that is as the migrations of the services leave it: sooner there than `postgres_url`."""
    with lent_databases.one() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without anything in it, on PostgreSQL with the tables: once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/test.db"
    url: str = request.getfixturevalue("migrated_postgres_url")
    return url


@pytest.fixture
def tmp_run_dir() -> Iterator[Path]:
    """A directory with a path short enough for unix sockets (under 60 characters), removed afterwards."""
    path = Path(tempfile.mkdtemp(prefix="fnm-", dir="/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
