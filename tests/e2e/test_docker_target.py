"""The same from a directory to an answer, on Docker."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator

import docker
import httpx
import pytest

from tests.e2e.conftest import MakeSource
from tests.support.eventually import eventually_sync
from tests.support.running_mesh import RunningMesh

pytestmark = pytest.mark.docker

PYTHON = """
    import os
    import six

    def handler(event, context):
        print("in a container")
        return {"greeting": os.environ.get("GREETING", ""), "six": six.__version__, "uid": os.getuid(),
                "token": os.environ.get("TOKEN", "")}
"""
NODE = "export const handler = async () => ({ node: true });\n"


@pytest.fixture(scope="module")
def docker_mesh(docker_environ: dict[str, str]) -> Iterator[RunningMesh]:
    """A mesh whose functions run in containers made from base images that need no image registry."""
    running = RunningMesh(environ=docker_environ)
    try:
        yield running.start()
        assert running.stop() == 0, running.errors()
    finally:
        running.remove()


@pytest.fixture
def daemon(docker_host: str) -> Iterator[docker.DockerClient]:
    client = docker.DockerClient(base_url=docker_host)
    yield client
    client.close()


def _containers(daemon: docker.DockerClient, mesh: RunningMesh) -> list[docker.models.containers.Container]:
    mesh_id = (mesh.data_dir / "mesh_id").read_text().strip()
    return list(daemon.containers.list(all=True, filters={"label": f"fnmesh.mesh={mesh_id}"}, ignore_removed=True))


def test_docker_is_the_default_and_a_python_function_lives_there(
    docker_mesh: RunningMesh, daemon: docker.DockerClient, make_source: MakeSource
) -> None:
    source = make_source("in-docker", **{"handler.py": PYTHON, "requirements.txt": "six==1.17.0\n"})

    shown = docker_mesh.cli_json("deploy", str(source), "--env", "GREETING=one")
    answer = httpx.get(shown["url"], trust_env=False, timeout=30)

    assert docker_mesh.cli_json("show", "in-docker")["revisions"][0]["target"] == "TARGET_DOCKER"
    assert answer.status_code == 200, answer.text
    assert (answer.json()["greeting"], answer.json()["six"]) == ("one", "1.17.0")
    assert answer.json()["uid"] != 0
    trace_id = answer.headers["x-trace-id"]
    eventually_sync(lambda: "in a container" in docker_mesh.cli("logs", "in-docker", "--trace", trace_id).stdout, 30)

    secret = secrets.token_hex(16)
    docker_mesh.cli("secret", "set", "in-docker", "TOKEN", stdin=secret)
    docker_mesh.cli("env", "set", "in-docker", "GREETING=two")
    changed = httpx.get(shown["url"], trust_env=False, timeout=30).json()
    assert (changed["greeting"], changed["token"]) == ("two", secret)
    docker_mesh.cli("rollback", "in-docker")
    back = httpx.get(shown["url"], trust_env=False, timeout=30).json()
    assert (back["greeting"], back["token"]) == ("one", secret)
    _is_in_the_environment_only(secret, _containers(daemon, docker_mesh), daemon)

    docker_mesh.cli("delete", "in-docker")
    eventually_sync(lambda: not _containers(daemon, docker_mesh), 40)


def _is_in_the_environment_only(
    secret: str, containers: list[docker.models.containers.Container], daemon: docker.DockerClient
) -> None:
    """What Docker shows of the containers has a secret where it has env: not in labels, arguments or the image."""
    assert containers
    for container in containers:
        shown = dict(container.attrs)
        shown["Config"] = {name: value for name, value in shown["Config"].items() if name != "Env"}
        assert secret not in json.dumps(shown)
        assert secret not in json.dumps(daemon.images.get(shown["Image"]).attrs)


def test_node_function_in_docker(docker_mesh: RunningMesh, make_source: MakeSource) -> None:
    source = make_source("node-in-docker", **{"index.mjs": NODE, "package.json": '{"type": "module"}'})

    url = docker_mesh.cli("deploy", str(source), "--target", "docker").stdout.strip()

    assert httpx.get(url, trust_env=False, timeout=30).json() == {"node": True}


def test_failing_install_is_told(docker_mesh: RunningMesh, make_source: MakeSource) -> None:
    source = make_source(
        "no-such-library", **{"handler.py": "def handler(e): return 1\n", "requirements.txt": "no-such-thing-x==9\n"}
    )

    done = docker_mesh.cli("deploy", str(source), "--target", "docker", check=False)

    assert done.returncode == 1
    assert "no-such-thing-x" in done.stderr.splitlines()[-1]


def test_stop_takes_the_containers_along(
    docker_host: str, docker_base_images: dict[str, str], daemon: docker.DockerClient, make_source: MakeSource
) -> None:
    running = RunningMesh(
        environ={"DOCKER_HOST": docker_host, "FNMESH_BUILD_PYTHON_IMAGE": docker_base_images["python"]}
    )
    try:
        running.start()
        source = make_source("short-lived", **{"handler.py": "def handler(e): return 1\n"})
        running.cli("deploy", str(source), "--target", "docker")
        assert len(_containers(daemon, running)) == 1
        running.kill()
        running.start()
        eventually_sync(lambda: len(_containers(daemon, running)) == 1, 40)
        assert running.stop() == 0
        assert _containers(daemon, running) == []
    finally:
        running.remove()
