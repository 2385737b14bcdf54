"""The commands of docs/operations.md: a backup of a mesh that runs, restored elsewhere, is that mesh again."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest

from fnmesh.client import Mesh
from tests.support import require
from tests.support.eventually import eventually_sync
from tests.support.operations_page import PAGE, blocks, run_block
from tests.support.postgres import PostgresServer
from tests.support.running_mesh import RunningMesh
from tests.support.shells import with_fnmesh

HANDLER = """\
import hashlib
import os


def handler(event):
    token = hashlib.sha256(os.environ.get("TOKEN", "").encode()).hexdigest()
    return {"greeting": os.environ.get("GREETING", ""), "token": token, "edition": 1}
"""
SECRET = "a-secret-of-before"
ANSWER = {"greeting": "hi", "token": hashlib.sha256(SECRET.encode()).hexdigest(), "edition": 1}
URL = "{}/api/kept"


class Operator:
    """Somebody with a shell, the page, and a mesh."""

    def __init__(self, mesh: RunningMesh, home: Path) -> None:
        self.mesh = mesh
        self.home = home
        (home / "backups").mkdir(exist_ok=True)

    def runs(self, block: str) -> str:
        environ = with_fnmesh(self.mesh.environ, self.home / "bin")
        environ["FNMESH_DATA_DIR"], environ["BACKUPS"] = str(self.mesh.data_dir), str(self.home / "backups")
        if block == "metrics":
            environ["FNMESH_RUN_DIR"] = str(self.mesh.run_dir)
        return run_block(block, environ, self.home)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "kept"
    root.mkdir()
    (root / "handler.py").write_text(HANDLER)
    return root


@pytest.fixture
def make_mesh() -> Iterator[Any]:
    made: list[RunningMesh] = []

    def make(**environ: str) -> RunningMesh:
        made.append(RunningMesh(environ=environ))
        return made[-1]

    yield make
    for mesh in made:
        mesh.remove()


def _ok(url: str) -> Any:
    answer = httpx.get(url, timeout=30, trust_env=False)
    return answer.json() if answer.status_code == 200 else None


def _use(mesh: RunningMesh, source: Path, target: str) -> dict[str, Any]:
    """Uses a mesh; what is there then."""
    with Mesh(mesh.server) as client:
        client.deploy(source, name="kept", target=target, env={"GREETING": "hi"}).wait()
        client.wait_ready(client.secret_set("kept", "TOKEN", SECRET))
        client.create_key(["deploy"], display_name="of before")
        eventually_sync(lambda: _ok(URL.format(mesh.url)) == ANSWER, 20)
        eventually_sync(lambda: client.executions("kept"), 20)
        return _seen(client)


def _seen(client: Mesh) -> dict[str, Any]:
    return {
        "builds": list(client.builds("kept")),
        "env": dict(client.show("kept", reveal_env=True).env),
        "secrets": list(client.secrets("kept")),
        "keys": list(client.keys()),
        "revisions": list(client.revisions("kept")),
    }


def _is_that_mesh_again(mesh: RunningMesh, before: dict[str, Any], source: Path, target: str) -> None:
    assert blocks()["start"] == "fnmesh up\n"
    mesh.start()
    assert eventually_sync(lambda: _ok(URL.format(mesh.url)), 60) == ANSWER
    (source / "handler.py").write_text(HANDLER.replace('"edition": 1', '"edition": 2'))
    with Mesh(mesh.server) as client:
        assert _seen(client) == before
        assert client.executions("kept")
        client.deploy(source, name="kept", target=target).wait()
    eventually_sync(lambda: _ok(URL.format(mesh.url)) == ANSWER | {"edition": 2}, 20)
    assert mesh.stop() == 0, mesh.errors()


def test_a_backup_of_a_running_mesh_is_that_mesh_again(make_mesh: Any, source: Path, tmp_path: Path) -> None:
    running: RunningMesh = make_mesh().start()
    before = _use(running, source, "process")

    Operator(running, tmp_path).runs("backup")
    with Mesh(running.server) as client:
        client.deploy(source, name="of-later", target="process").wait()
    restored: RunningMesh = make_mesh()
    restored.data_dir.rmdir()
    operator = Operator(restored, tmp_path)
    operator.runs("restore")
    operator.runs("restore-beside")

    _is_that_mesh_again(restored, before, source, "process")
    assert _ok(URL.format(running.url)) == ANSWER  # it was not disturbed
    assert _ok(f"{running.url}/api/of-later")


def test_a_backup_with_postgresql_is_that_mesh_again(
    make_mesh: Any, source: Path, tmp_path: Path, postgres_server: PostgresServer
) -> None:
    with postgres_server.database() as first, postgres_server.database() as second:
        running: RunningMesh = make_mesh(FNMESH_DATABASE_URL=first.replace("+asyncpg", "")).start()
        before = _use(running, source, "process")

        Operator(running, tmp_path).runs("backup-postgresql")
        running.kill()
        restored: RunningMesh = make_mesh(FNMESH_DATABASE_URL=second.replace("+asyncpg", ""))
        restored.data_dir.rmdir()
        Operator(restored, tmp_path).runs("restore-postgresql")

        _is_that_mesh_again(restored, before, source, "process")
        running.remove()


def test_a_backup_with_images_is_that_mesh_again(
    make_mesh: Any, source: Path, tmp_path: Path, docker_host: str, docker_python_image: str
) -> None:
    if shutil.which("docker") is None:
        require.missing("docker", "the command docker, which the page uses, is not on PATH")
    environ = {"DOCKER_HOST": docker_host, "FNMESH_BUILD_PYTHON_IMAGE": docker_python_image}
    running: RunningMesh = make_mesh(**environ).start()
    before = _use(running, source, "docker")
    operator = Operator(running, tmp_path)

    operator.runs("backup")
    operator.runs("backup-images")
    assert running.stop() == 0
    _lose_images(docker_host, (running.data_dir / "mesh_id").read_text().strip())
    restored: RunningMesh = make_mesh(**environ)
    restored.data_dir.rmdir()
    operator = Operator(restored, tmp_path)
    operator.runs("restore")
    operator.runs("restore-images")

    _is_that_mesh_again(restored, before, source, "docker")


def _lose_images(docker_host: str, mesh_id: str) -> None:
    daemon = docker.DockerClient(base_url=docker_host)
    try:
        found = daemon.images.list(filters={"label": f"fnmesh.mesh={mesh_id}"})
        assert found
        for image in sorted(found, key=lambda one: one.attrs["Created"], reverse=True):  # children before parents
            daemon.images.remove(image.id, force=True)
    finally:
        daemon.close()


def test_metrics_of_the_page_are_there(mesh: RunningMesh, http: httpx.Client, tmp_path: Path) -> None:
    http.get("/health")
    named = set(re.findall(r"`(envoy_(?:http|cluster|server)_[a-z_0-9]+)`", PAGE.read_text()))

    said = Operator(mesh, tmp_path).runs("metrics")

    assert len(named) > 5
    assert named - set(re.findall(r"^(envoy_[a-z_0-9]+)", said, re.MULTILINE)) == set()
    assert 'envoy_http_conn_manager_prefix="door"' in said
