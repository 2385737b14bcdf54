"""deploy/compose.yaml, run: every service is healthy, a function and a script on Docker answer and go with the mesh."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import docker
import httpx
import pytest

from fnmesh.client import Mesh
from fnmesh.invoke.v1 import job_pb2
from tests.support.compose import compose
from tests.support.eventually import eventually_sync
from tests.support.mesh_images import MeshImages
from tests.support.ports import free_port

pytestmark = [pytest.mark.compose, pytest.mark.timeout(900)]  # the images may have to be made

_HANDLER = """
import os

def handler(event, context):
    return {"uid": os.getuid(), "event": event}
"""


@dataclass
class Composed:
    """A mesh that Compose runs."""

    project: str
    environ: dict[str, str]
    listen: str

    def __call__(self, *arguments: str, check: bool = True) -> str:
        return compose(*arguments, project=self.project, environ=self.environ, check=check)


@pytest.fixture
def composed(images: MeshImages, docker_host: str, docker_python_image: str) -> Iterator[Composed]:
    socket = urlsplit(docker_host).path
    listen = f"127.0.0.1:{free_port()}"
    running = Composed(
        f"fnmesh-test-{secrets.token_hex(4)}",
        {
            "DOCKER_HOST": docker_host,
            "DOCKER_SOCKET": socket,
            "DOCKER_GROUP": str(os.stat(socket).st_gid),
            "FNMESH_SERVICES_IMAGE": images.services,
            "FNMESH_ENVOY_IMAGE": images.envoy,
            "FNMESH_BUILD_PYTHON_IMAGE": docker_python_image,
            "FNMESH_DEPLOY_SCRIPT_PYTHON_IMAGE": docker_python_image,
            "FNMESH_GATEWAY_LISTEN": listen,
        },
        listen,
    )
    try:
        yield running
    finally:
        running("down", "--volumes", "--timeout", "20", check=False)


def _functions_of(docker_host: str, mesh_id: str) -> list[str]:
    client = docker.APIClient(base_url=docker_host, version="auto")
    try:
        return [one["Id"] for one in client.containers(all=True, filters={"label": [f"fnmesh.mesh={mesh_id}"]})]
    finally:
        client.close()


def _probe_succeeds(composed: Composed, service: str, docker_host: str) -> bool:
    """Runs what the health check of the service runs; and the same fails where nobody listens."""
    client = docker.APIClient(base_url=docker_host, version="auto")
    try:
        container = composed("ps", "-q", service).strip()
        _, *probe = client.inspect_container(container)["Config"]["Healthcheck"]["Test"]

        def code(*command: str) -> int:
            started = client.exec_create(container, list(command))
            client.exec_start(started)
            return int(client.exec_inspect(started)["ExitCode"])

        return code(*probe) == 0 and code(*probe[:-1], probe[-1] + ".not") == 1
    finally:
        client.close()


def test_a_function_is_deployed_answers_and_is_removed(composed: Composed, docker_host: str, tmp_path: Path) -> None:
    composed("up", "-d")

    def whole() -> bool:
        try:
            return httpx.get(f"http://{composed.listen}/health", trust_env=False, timeout=10).status_code == 200
        except httpx.TransportError:
            return False

    try:
        eventually_sync(whole, 90)
    except AssertionError:
        raise AssertionError(composed("logs", "--tail", "15", check=False)) from None
    services = composed("config", "--services").split()
    assert {name for name in services if name != "setup" and not _probe_succeeds(composed, name, docker_host)} == set()
    made = composed("exec", "-T", "registry", "fnmesh", "key", "create", "--offline", "--scope", "admin", "--json")
    mesh_id = composed("exec", "-T", "deploy", "cat", "/var/lib/fnmesh/mesh_id").strip()
    (tmp_path / "hello").mkdir()
    (tmp_path / "hello/handler.py").write_text(_HANDLER)
    (tmp_path / "script.py").write_text("import os\nprint(os.getcwd())\n")
    with Mesh(composed.listen, api_key=json.loads(made)["secret"]) as mesh:
        mesh.deploy(tmp_path / "hello", name="hello", target="docker").wait()
        answer = mesh.invoke("hello", {"a": 1})
        script = mesh.jobs.wait(mesh.jobs.run_script(tmp_path / "script.py"), 60)
        said = b"".join(mesh.jobs.log(script))
        refused = mesh.jobs.wait(mesh.jobs.run_script(tmp_path / "script.py", target="process"), 60)
    value = json.loads(answer.body)
    assert value["event"] == {"a": 1} and value["uid"] > 0
    assert (script.state, said) == (job_pb2.JOB_STATE_SUCCESS, b"/tmp\n"), script.error
    assert (refused.state, refused.error.split(":")[0]) == (job_pb2.JOB_STATE_FAILED, "TARGET_NOT_OFFERED")
    assert len(_functions_of(docker_host, mesh_id)) == 1

    composed("stop")
    composed("run", "--rm", "--no-deps", "deploy", "python", "-m", "deploy_svc", "reap")
    assert _functions_of(docker_host, mesh_id) == []
