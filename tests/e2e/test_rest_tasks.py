"""The fourth older back end's calls: build and push, poll, deploy, call; then change, and back."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from runtimes.spin.application import write
from tests.contract.build_svc.build_world import zipped
from tests.support import spin_toolchain, spin_tree
from tests.support.docker_registry import PASSWORD, USER, DockerRegistry, running_registry
from tests.support.errors_page import answers
from tests.support.eventually import eventually_sync
from tests.support.running_mesh import RunningMesh

pytestmark = [pytest.mark.registry, pytest.mark.timeout(600)]

ANSWERS = answers("Pushing to a registry")
WORKSPACE = "my-workspace"
BUILD_S = 300
HELLO = spin_toolchain.hello()["app.py"]
PROBE = zipped({"app.wasm": spin_tree.probe_wasm(), "spin.toml": write(spin_tree.APP)})
WRONG = 'from spin_sdk import http\n\nx: int = "text"\n\n\nclass IncomingHandler(http.IncomingHandler):\n    pass\n'


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    with running_registry(tmp_path_factory.mktemp("registry"), user=True) as running:
        yield running


@pytest.fixture(scope="module")
def spin_mesh(registry: DockerRegistry) -> Iterator[RunningMesh]:
    """A mesh whose builder has the Spin toolchain, and whose user has logged in at the registry with Docker."""
    running = RunningMesh()
    registry.log_in(running.data_dir / ".docker")
    running.environ |= spin_toolchain.lent(running.data_dir / "work")
    try:
        yield running.start()
        assert running.stop() == 0, running.errors()
    finally:
        running.remove()


@pytest.fixture
def door(spin_mesh: RunningMesh) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=spin_mesh.url, timeout=60, trust_env=False) as session:
        yield session


def begun(
    door: httpx.Client, call: str, code: str | bytes = HELLO, name: str = "app.py", **fields: str
) -> dict[str, Any]:
    content = code.encode() if isinstance(code, str) else code
    answer = door.post(f"/api/v1/{call}", files={"file": (name, content)}, data={"workspace_id": WORKSPACE} | fields)
    assert answer.status_code == 202, answer.text
    body: dict[str, Any] = answer.json()
    return body


def ended(door: httpx.Client, task_id: str) -> dict[str, Any]:
    seen: list[str] = []

    def probe() -> dict[str, Any]:
        task: dict[str, Any] = door.get(f"/api/v1/tasks/{task_id}", params={"workspace_id": WORKSPACE}).json()
        if task["status"] not in seen:
            seen.append(task["status"])
        return task if task["status"] in ("done", "failed") else {}

    task = eventually_sync(probe, BUILD_S)
    order = ["pending", "building", "pushing", "done", "failed"]
    assert seen == sorted(seen, key=order.index)
    return task


def deployed(door: httpx.Client, image: str, **fields: Any) -> dict[str, Any]:
    given = {"namespace": "default", "image_ref": image, "enable_autoscaling": True, "use_spot": False} | fields
    answer = door.post("/api/v1/deploy", json=given)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def says_hello(door: httpx.Client, app: str) -> bool:
    answer = door.get(f"/api/{app}", params={"name": "Ada"})
    return answer.status_code == 200 and answer.json() == {"message": "Hello, Ada!"}


def echoes(door: httpx.Client, app: str) -> bool:
    answer = door.post(f"/api/{app}?echo", content=b"the newer code")
    return answer.status_code == 200 and "the newer code" in answer.text


def test_from_the_code_to_the_answer_and_back_to_an_older_image(
    door: httpx.Client, registry: DockerRegistry, spin_mesh: RunningMesh
) -> None:
    where = {
        "app_name": "my-function", "registry_url": f"{registry.address}/faas-app", "username": USER,
        "password": PASSWORD,
    }  # fmt: skip
    accepted = begun(door, "build-and-push", **where)

    task_id = accepted["task_id"]
    assert accepted == {
        "task_id": str(uuid.UUID(task_id)), "status": "pending", "message": "Build and push task created",
        "source_s3_path": f"file://{spin_mesh.data_dir}/blobs/build-sources/{WORKSPACE}/{task_id}/",
    }  # fmt: skip
    task = ended(door, task_id)
    assert task["status"] == "done", task
    assert (task["task_id"], task["error"]) == (task_id, None)
    assert task["result"]["wasm_path"] == f"file://{spin_mesh.data_dir}/blobs/build-artifacts/{task_id}/app.wasm"
    old = task["result"]["image_url"]
    assert re.fullmatch(rf"{registry.address}/faas-app:[0-9a-f]{{8}}", old)
    manifest = registry.get(f"faas-app/manifests/{old.rpartition(':')[2]}").json()
    assert manifest["layers"][0]["mediaType"] == "application/vnd.wasm.content.layer.v1+wasm"

    first = deployed(door, old, function_id="fn-my-function-001")
    name = first["app_name"]
    assert re.fullmatch(r"spin-[a-z]+-[a-z]+-[0-9]{4}", name)
    expected = {
        "app_name": name, "namespace": "default", "service_name": name, "service_status": "found",
        "endpoint": f"{name}.default.svc.cluster.local", "enable_autoscaling": True, "use_spot": False, "error": None,
    }  # fmt: skip
    shown = eventually_sync(lambda: found if (found := _deployment(door, name))["service_status"] == "found" else {})
    assert shown | expected == shown
    eventually_sync(lambda: says_hello(door, name))
    assert deployed(door, old, app_name="my-function")["app_name"] == "my-function"
    eventually_sync(lambda: says_hello(door, "my-function"))

    where |= {"username": "AWS", "password": ""}  # whoever Docker's configuration says it is
    changed = ended(door, begun(door, "build-and-push", PROBE, "source.zip", **where)["task_id"])
    assert changed["status"] == "done", changed
    new = changed["result"]["image_url"]
    assert new != old
    deployed(door, new, app_name="my-function")
    eventually_sync(lambda: echoes(door, "my-function"))
    assert says_hello(door, name)  # another app, of the older image

    deployed(door, old, app_name="my-function")
    eventually_sync(lambda: says_hello(door, "my-function"))


@pytest.mark.skopeo
def test_an_image_that_somebody_else_pushed(door: httpx.Client, registry: DockerRegistry) -> None:
    target = {"app_name": "probe", "registry_url": f"{registry.address}/ours"}
    pushed = ended(door, begun(door, "build-and-push", PROBE, "source.zip", **target)["task_id"])
    ours, theirs = pushed["result"]["image_url"], f"{registry.address}/theirs:v1"
    registry.skopeo("copy", f"--dest-creds={USER}:{PASSWORD}", "--dest-tls-verify=false", f"docker://{ours}",
                    f"docker://{theirs}")  # fmt: skip

    deployed(door, theirs, app_name="their-app")

    eventually_sync(lambda: echoes(door, "their-app"))
    missing = door.post("/api/v1/deploy", json={"namespace": "default", "image_ref": f"{registry.address}/none:v1"})
    assert (missing.status_code, missing.json()["reason"]) == (404, "IMAGE_NOT_FOUND")


def _deployment(door: httpx.Client, name: str) -> dict[str, Any]:
    answer = door.get(f"/api/v1/deployments/default/{name}")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_a_build_that_is_pushed_later_and_its_events(door: httpx.Client, registry: DockerRegistry) -> None:
    accepted = begun(door, "build")
    assert accepted["message"] == "Build task created"
    built = ended(door, accepted["task_id"])
    assert built["status"] == "done", built
    assert built["result"]["image_url"] is None

    target = {"registry_url": f"{registry.address}/later", "username": USER, "password": PASSWORD}
    pushed = door.post("/api/v1/push", json={"wasm_path": built["result"]["wasm_path"], **target})
    assert (pushed.status_code, pushed.json()["message"]) == (202, "Push task created")
    image = ended(door, pushed.json()["task_id"])["result"]["image_url"]
    assert image.startswith(f"{registry.address}/later:")
    again = door.post("/api/v1/push", json={"image": image, **target, "workspace_id": WORKSPACE})
    assert ended(door, again.json()["task_id"])["result"]["image_url"] == image

    refused = door.post("/api/v1/push", json={"task_id": accepted["task_id"], **target, "password": "a wrong password"})
    failed = ended(door, refused.json()["task_id"])
    assert failed["status"] == "failed"
    assert failed["error"] == failed["error_message"] == f"registry refused the credentials for {registry.address}"
    assert failed["result"] is None

    events = _events(door, pushed.json()["task_id"])
    assert [number for number, _, _ in events] == list(range(1, len(events) + 1))
    words = [told["status"] for _, name, told in events if name == "status"]
    assert words == ["pending", "building", "pushing", "done"]
    percents = [told["percent"] for _, name, told in events if name == "progress"]
    assert percents == sorted(percents)
    assert any("pushed" in told["line"] or "already" in told["line"] for _, name, told in events if name == "log")
    assert events[-1][2]["result"]["image_url"] == image
    assert _events(door, pushed.json()["task_id"], after=events[-3][0]) == events[-2:]
    path = f"/api/v1/tasks/{pushed.json()['task_id']}/events"
    assert door.get(path, headers={"last-event-id": str(events[-1][0])}).status_code == 204

    page = door.get(f"/api/v1/workspaces/{WORKSPACE}/tasks", params={"page_size": 2}).json()
    assert (page["count"], len(page["tasks"])) == (2, 2)
    assert page["tasks"][0] == failed
    rest = door.get(f"/api/v1/workspaces/{WORKSPACE}/tasks", params={"page_token": page["next_page_token"]}).json()
    assert built in rest["tasks"]


def _events(door: httpx.Client, task_id: str, after: int = 0) -> list[tuple[int, str, dict[str, Any]]]:
    headers = {"last-event-id": str(after)} if after else {}
    answer = door.get(f"/api/v1/tasks/{task_id}/events", headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in answer.text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return found


def test_what_is_wrong_with_the_code_is_told_by_the_task(door: httpx.Client) -> None:
    wrong = begun(door, "build", WRONG)
    assert ended(door, wrong["task_id"])["error"].startswith("MyPy validation failed: app.py:3: error: ")


def test_what_is_not_there(door: httpx.Client) -> None:
    unknown = uuid.uuid4()
    for path in (f"tasks/{unknown}", f"tasks/{unknown}/events"):
        answer = door.get(f"/api/v1/{path}")
        assert (answer.status_code, answer.json()["reason"]) == (404, "TASK_NOT_FOUND")
    assert door.get("/api/v1/tasks/no-uuid").status_code == 422
    assert door.get("/api/v1/workspaces/never-seen/tasks").json() == {"tasks": [], "count": 0, "next_page_token": ""}
    given = {"namespace": "xxx", "image_ref": "127.0.0.1:1/app:00000000"}
    answer = door.post("/api/v1/deploy", json=given)
    assert (answer.status_code, answer.json()["detail"]) == (404, ANSWERS["a deploy to a namespace that is not there"])
    answer = door.post("/api/v1/deploy", json=given | {"namespace": "default"})
    assert (answer.status_code, answer.json()["reason"]) == (503, "REGISTRY_UNAVAILABLE")
    for body in ({"registry_url": "a.b/c"}, {"registry_url": "a.b/c", "wasm_path": "s3://x/app.wasm"}):
        assert door.post("/api/v1/push", json=body).status_code == 422
    answer = door.post("/api/v1/push", json={"registry_url": "a.b/c", "task_id": str(unknown)})
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("files", "fields", "where"),
    [
        ({"file": ("app.py", b"x = 1")}, {}, ["body", "workspace_id"]),
        ({"file": ("app.py", b"x = 1")}, {"workspace_id": "No Name"}, ["body", "workspace_id"]),
        ({"file": ("app.txt", b"x = 1")}, {"workspace_id": "w"}, ["body", "file"]),
        ({"other": ("app.py", b"x = 1")}, {"workspace_id": "w"}, ["body", "file"]),
        ({"file": ("app.zip", b"no archive")}, {"workspace_id": "w"}, ["body"]),
    ],
)
def test_forms_that_do_not_validate(
    door: httpx.Client, files: dict[str, tuple[str, bytes]], fields: dict[str, str], where: list[str]
) -> None:
    answer = door.post("/api/v1/build", files=files, data=fields)

    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"][0]["loc"] == where


def test_a_task_of_another_workspace_is_not_there(door: httpx.Client) -> None:
    task_id = begun(door, "build", WRONG)["task_id"]
    assert door.post("/api/workspaces", json={"name": "their-workspace"}).status_code == 201

    for workspace in ("their-workspace", "never-seen"):
        answer = door.get(f"/api/v1/tasks/{task_id}", params={"workspace_id": workspace})
        assert answer.status_code == 404, answer.text


def test_the_manifest_that_a_deploy_would_apply(door: httpx.Client) -> None:
    given = {"image_ref": "127.0.0.1:5000/faas-app:a1b2c3d4", "app_name": "my-function", "namespace": "default",
             "enable_autoscaling": False, "replicas": 2}  # fmt: skip

    answer = door.post("/api/v1/scaffold", json=given)

    assert answer.status_code == 200, answer.text
    assert answer.json()["app_name"] == "my-function"
    assert answer.json()["yaml"].startswith("---\napiVersion: core.spinkube.dev/v1alpha1\nkind: SpinApp\n")
    assert "\n  replicas: 2\n" in answer.json()["yaml"]


def _callback(door: httpx.Client, path: str) -> int:
    answer = door.post("/callbacks/", json={"path": path, "type": "python", "code": "def handler(event): return 1"})
    assert answer.status_code == 201, answer.text
    return int(answer.json()["callback_id"])


def test_without_a_cluster_nothing_is_deployed_to_one(door: httpx.Client) -> None:
    number = _callback(door, "for-a-cluster")

    for c_type in ("k8s", "kubernetes"):
        answer = door.post("/deploy/", json={"callback_id": number, "status": True, "c_type": c_type})
        assert (answer.status_code, answer.json()["reason"]) == (409, "TARGET_UNAVAILABLE")
        assert answer.json()["detail"] == answers("Functions on a cluster")["a deploy to a cluster where none is named"]
    assert door.get(f"/callbacks/{number}").json()["status"] is False
