"""The same from a directory, or an image, to an answer, on a cluster: the fake one, whose pods are containers, and the
one of FNMESH_TEST_KUBECONFIG, which has to be on this machine: it pulls from a registry on loopback.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest
import yaml

from runtimes.spin.application import write
from tests.contract.build_svc.build_world import zipped
from tests.e2e.conftest import MakeSource
from tests.support import spin_toolchain, spin_tree
from tests.support.cluster_pods import Pods
from tests.support.cluster_target import REAL
from tests.support.docker_registry import PASSWORD, USER, DockerRegistry, running_registry
from tests.support.errors_page import answers
from tests.support.eventually import eventually_sync
from tests.support.kubernetes import FakeKubernetes, Fault, Runs
from tests.support.kubernetes.api import Target
from tests.support.kubernetes.objects import Options
from tests.support.kubernetes.resources import SERVICE_ACCOUNTS
from tests.support.real_cluster import RealCluster, real_cluster
from tests.support.running_mesh import RunningMesh

pytestmark = [pytest.mark.docker, pytest.mark.registry, pytest.mark.timeout(300)]

GONE_S = 120  # a real pod is given its time
SAID = answers("Functions on a cluster")
HELLO = """
    import os

    def handler(event, context):
        print("in a pod")
        return {"greeting": os.environ.get("GREETING", ""), "token": os.environ.get("TOKEN", ""), "version": VERSION}

    VERSION = 1
"""
PROBE = zipped({"app.wasm": spin_tree.probe_wasm(), "spin.toml": write(spin_tree.APP)})


Cluster = FakeKubernetes | RealCluster


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    with running_registry(tmp_path_factory.mktemp("registry"), user=not REAL) as running:
        yield running


@pytest.fixture(scope="module", params=["fake", *(["real"] if REAL else [])])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    if request.param == "fake":
        yield request.getfixturevalue("fake")
        return
    with real_cluster(Path(REAL)) as real, real.clearing():
        real.namespace("team-a", "robot")
        yield real


@pytest.fixture(scope="module")
def fake(docker_host: str) -> Iterator[FakeKubernetes]:
    """A cluster without SpinKube, whose pods are containers of the test's daemon."""
    daemon = docker.DockerClient(base_url=docker_host)
    with FakeKubernetes(namespaces=("team-a", "team-b")) as running:

        def secret(namespace: str, name: str) -> dict[str, Any]:
            found = running.list("secrets", namespace)
            return next((dict(one["data"]) for one in found if one["metadata"]["name"] == name), {})

        pods = Pods(daemon, secret, running.kubelet.write_log, {"username": USER, "password": PASSWORD})
        account = {"metadata": {"name": "robot"}}
        running.api.create(Target(SERVICE_ACCOUNTS, "team-a"), account, Options(manager="kubectl"))
        running.kubelet.runtime, running.kubelet.default = pods, Runs()
        try:
            yield running
        finally:
            pods.remove()
            daemon.close()


@pytest.fixture(scope="module")
def cluster_mesh(cluster: Cluster, registry: DockerRegistry, docker_environ: dict[str, str]) -> Iterator[RunningMesh]:
    running = RunningMesh(environ=docker_environ | {"FNMESH_BUILD_CLUSTER_REPOSITORY": f"{registry.address}/fnmesh"})
    running.environ["FNMESH_DEPLOY_KUBECONFIG"] = str(cluster.kubeconfig(running.data_dir / "kubeconfig", "C"))
    registry.log_in(running.data_dir / ".docker")
    running.environ |= spin_toolchain.lent(running.data_dir / "work")
    try:
        yield running.start()
        assert running.stop() == 0, running.errors()
    finally:
        running.remove()


@pytest.fixture
def door(cluster_mesh: RunningMesh) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=cluster_mesh.url, timeout=60, trust_env=False) as session:
        yield session


def says(door: httpx.Client, path: str, **expected: Any) -> bool:
    answer = door.get(f"/api/{path}")
    return answer.status_code == 200 and answer.json().items() >= expected.items()


def test_a_directory_becomes_pods_that_answer(
    cluster_mesh: RunningMesh, cluster: Cluster, door: httpx.Client, make_source: MakeSource
) -> None:
    source = make_source("hello", **{"handler.py": HELLO})
    where = ["--target", "kubernetes", "--context", "C", "--namespace", "team-a", "--app-name", "hello-app",
             "--service-account", "robot", "--use-spot", "--pull-secret", "regcred"]  # fmt: skip

    shown = cluster_mesh.cli_json("deploy", str(source), *where, "--env", "GREETING=one")

    assert says(door, "hello", greeting="one", version=1), shown
    deployment = cluster.get("deployments", "hello-app", "team-a")
    pod = deployment["spec"]["template"]["spec"]
    assert re.fullmatch(r"127\.0\.0\.1:\d+/fnmesh/fn-[a-z0-9]+@sha256:[0-9a-f]{64}", pod["containers"][0]["image"])
    assert (pod["serviceAccountName"], pod["imagePullSecrets"]) == ("robot", [{"name": "regcred"}])
    assert pod["tolerations"] and cluster.get("services", "hello-app", "team-a")
    text = cluster_mesh.cli("show", "hello").stdout
    assert "cluster" in text and "context C, namespace team-a, app hello-app" in text and "spot nodes" in text
    eventually_sync(lambda: "in a pod" in cluster_mesh.cli("logs", "hello").stdout)

    cluster_mesh.cli("secret", "set", "hello", "TOKEN", stdin="hush")
    eventually_sync(lambda: says(door, "hello", token="hush", version=1))
    make_source("hello", **{"handler.py": HELLO.replace("VERSION = 1", "VERSION = 2")})
    cluster_mesh.cli("deploy", str(source))
    assert says(door, "hello", token="hush", greeting="one", version=2)
    cluster_mesh.cli("rollback", "hello")
    eventually_sync(lambda: says(door, "hello", version=1))

    cluster_mesh.cli("delete", "hello")
    kinds = ("deployments", "services", "pods", "secrets")
    eventually_sync(lambda: not any(cluster.list(kind, "team-a") for kind in kinds), GONE_S)
    assert door.get("/api/hello").status_code == 404


def test_it_moves_to_the_cluster_and_back(
    cluster_mesh: RunningMesh, cluster: Cluster, door: httpx.Client, make_source: MakeSource
) -> None:
    source = make_source("moving", **{"handler.py": HELLO})
    cluster_mesh.cli("deploy", str(source), "--target", "process")
    assert says(door, "moving", version=1)

    cluster_mesh.cli("deploy", str(source), "--target", "kubernetes")

    assert says(door, "moving", version=1)
    assert cluster.get("deployments", "moving")
    cluster_mesh.cli("deploy", str(source), "--target", "process")
    assert says(door, "moving", version=1)
    eventually_sync(lambda: not cluster.list("deployments", "default"), GONE_S)
    cluster_mesh.cli("delete", "moving")


def test_what_the_cluster_refuses_is_told(cluster_mesh: RunningMesh, make_source: MakeSource) -> None:
    source = make_source("refused", **{"handler.py": HELLO})

    done = cluster_mesh.cli("deploy", str(source), "--target", "kubernetes", "--namespace", "xxx", check=False)

    assert done.returncode == 1
    assert "Namespace 'xxx' not found" in done.stderr
    wrong = cluster_mesh.cli("deploy", str(source), "--target", "kubernetes", "--namespace", "No", check=False)
    assert SAID["a namespace that no cluster could have"] in wrong.stderr
    cluster_mesh.cli("delete", "refused")


def test_a_callback_is_deployed_to_a_cluster(cluster: Cluster, door: httpx.Client) -> None:
    code = "def handler(event): return {'statusCode': 200, 'body': 'in'}"
    made = door.post("/callbacks/", json={"path": "called", "method": "ANY", "type": "python", "code": code})
    number = made.json()["callback_id"]

    for c_type in ("k8s", "kubernetes"):
        answer = door.post("/deploy/", json={"callback_id": number, "status": True, "c_type": c_type})

        assert answer.status_code == 202, answer.text
        assert (answer.json()["status"], answer.json()["callback_id"]) == ("deploying", number)
        eventually_sync(lambda: door.get("/api/called").text == "in")
    assert cluster.get("deployments", "called")["spec"]["replicas"] == 1
    door.post("/deploy/", json={"callback_id": number, "status": False})
    eventually_sync(lambda: not _has(cluster, "deployments", "called"), GONE_S)


def _has(cluster: Cluster, kind: str, name: str, namespace: str = "default") -> bool:
    return any(one["metadata"]["name"] == name for one in cluster.list(kind, namespace))


def pushed(door: httpx.Client, registry: DockerRegistry, source: bytes, repository: str) -> str:
    """The name of an image, as a task of the mesh pushed it."""
    fields = {
        "workspace_id": "my-workspace", "app_name": "probe", "registry_url": f"{registry.address}/{repository}",
        "username": USER, "password": PASSWORD,
    }  # fmt: skip
    begun = door.post("/api/v1/build-and-push", files={"file": ("source.zip", source)}, data=fields)
    assert begun.status_code == 202, begun.text

    def ended() -> dict[str, Any]:
        task: dict[str, Any] = door.get(f"/api/v1/tasks/{begun.json()['task_id']}").json()
        return task if task["status"] in ("done", "failed") else {}

    task = eventually_sync(ended, 120)
    assert task["status"] == "done", task
    return str(task["result"]["image_url"])


@pytest.mark.wasmtime
@pytest.mark.root  # pods of Spin listen on port 80
@pytest.mark.parametrize("cluster", ["fake"], indirect=True)  # a real one would need SpinKube's operator and shim
def test_an_image_is_deployed_as_older_clients_do(
    cluster: Cluster, registry: DockerRegistry, door: httpx.Client
) -> None:
    assert isinstance(cluster, FakeKubernetes)
    other = zipped({"app.wasm": spin_tree.probe_wasm() + b"\0\x05\x04more", "spin.toml": write(spin_tree.APP)})
    old, new = (pushed(door, registry, one, "faas-app") for one in (PROBE, other))
    assert old != new
    given = {"namespace": "default", "image_ref": old, "function_id": "fn-my-function-001", "use_spot": False,
             "enable_autoscaling": True}  # fmt: skip
    missing = door.post("/api/v1/deploy", json=given)
    assert (missing.status_code, missing.json()["reason"]) == (412, "SPINKUBE_NOT_INSTALLED")
    cluster.install_spinkube()
    refusals(cluster, door, old)

    first = door.post("/api/v1/deploy", json=given).json()

    name = first["app_name"]
    assert re.fullmatch(r"spin-[a-z]+-[a-z]+-[0-9]{4}", name), first
    expected = {
        "app_name": name, "namespace": "default", "service_name": name, "service_status": "found",
        "endpoint": f"{name}.default.svc.cluster.local", "enable_autoscaling": True, "use_spot": False, "error": None,
    }  # fmt: skip
    told = eventually_sync(lambda: one if (one := shown(door, name))["service_status"] == "found" else {})
    assert told.items() >= expected.items()
    eventually_sync(lambda: says(door, name))
    app = cluster.get("spinapps", name)
    assert app["spec"]["image"].startswith(f"{registry.address}/faas-app@sha256:") and app["spec"]["enableAutoscaling"]
    scaler = cluster.get("horizontalpodautoscalers", name)
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (1, 10)

    fixed = {**given, "app_name": "my-function", "enable_autoscaling": False, "replicas": 2, "cpu_limit": "500m"}
    manifest = door.post("/api/v1/scaffold", json=fixed).json()
    answer = door.post("/api/v1/deploy", json=fixed)
    assert answer.json()["app_name"] == manifest["app_name"] == "my-function", answer.text
    eventually_sync(lambda: says(door, "my-function", image=cluster.get("spinapps", "my-function")["spec"]["image"]))
    (rendered,) = yaml.safe_load_all(manifest["yaml"])
    applied = cluster.get("spinapps", "my-function")["spec"]
    for part in ("image", "executor", "replicas", "resources"):  # the cluster adds defaults to others
        assert applied[part] == rendered["spec"][part]
    before = applied["image"]
    for image in (new, old):  # on to a newer image, and back
        assert door.post("/api/v1/deploy", json={**fixed, "image_ref": image}).status_code == 200
        wanted = cluster.get("spinapps", "my-function")["spec"]["image"]
        assert (wanted == before) is (image == old)
        eventually_sync(lambda wanted=wanted: says(door, "my-function", image=wanted))
    elsewhere = door.post("/api/v1/deploy", json={**fixed, "namespace": "team-b"}).json()
    assert (elsewhere["app_name"], elsewhere["namespace"]) == ("my-function", "team-b")
    assert _has(cluster, "spinapps", "my-function") and _has(cluster, "spinapps", "my-function", "team-b")


def shown(door: httpx.Client, name: str, namespace: str = "default") -> dict[str, Any]:
    answer = door.get(f"/api/v1/deployments/{namespace}/{name}")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def refusals(cluster: FakeKubernetes, door: httpx.Client, image: str) -> None:
    """What the cluster refuses is answered at once, and nothing of it is half made."""
    given = {"namespace": "default", "image_ref": image, "app_name": "nowhere"}
    unknown = door.post("/api/v1/deploy", json={**given, "namespace": "xxx"})
    assert (unknown.status_code, unknown.json()["detail"]) == (404, "Namespace 'xxx' not found")
    cluster.faults.add(Fault(403, times=None, verb="patch", resource="spinapps"))
    forbidden = door.post("/api/v1/deploy", json=given)
    cluster.faults.clear()
    assert forbidden.status_code == 403, forbidden.text
    assert "patch spinapps.core.spinkube.dev" in forbidden.json()["detail"]
    cluster.stop()
    try:
        down = door.post("/api/v1/deploy", json=given)
        assert (down.status_code, "retry-after" in down.headers) == (503, True), down.text
    finally:
        cluster.start()
    assert not _has(cluster, "spinapps", "nowhere")
    assert door.get("/api/v1/deployments/default/nowhere").status_code == 404
    assert door.get("/api/nowhere").status_code == 404
