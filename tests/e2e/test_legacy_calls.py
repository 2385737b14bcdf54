"""What the users of three older systems send, in their order, and every field of what they are answered.

Host names apart, nothing of it may change: their clients do not.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from fnmesh.client import Mesh
from tests.support.eventually import eventually_sync
from tests.support.legacy import AMOUNT, COUNT, TIME, TRACE, UUID, Among, Call, Each, Like, Some, replay
from tests.support.running_mesh import RunningMesh

PYTHON = (
    "import os\nimport requests\n\ndef handler(event):\n"
    '    api_key = os.environ.get("API_KEY")\n    return {"statusCode": 200, "body": "Success"}'
)
NODE = (
    "exports.handler = async (event) => {\n  const key = process.env.API_KEY;\n"
    '  return {statusCode: 200, body: "Success"};\n};'
)
AXIOS = '{"dependencies": {"axios": "^1.3.0"}}'
TEXT = "text/plain; charset=utf-8"


@pytest.fixture(scope="module")
def legacy(request: pytest.FixtureRequest) -> Iterator[tuple[RunningMesh, str]]:
    """A mesh with the settings that the older clients' operators make, and the `c_type` that it deploys to."""
    c_type: str = request.param
    environ = {"FNMESH_CLUSTER_ALIASES": "softbank-execution-engine", "DOCKER_HOST": "unix:/nowhere.sock"}
    if c_type == "docker":
        environ |= request.getfixturevalue("docker_environ")
    running = RunningMesh(environ=environ)
    try:
        yield running.start(), c_type
        assert running.stop() == 0, running.errors()
    finally:
        running.remove()


@pytest.fixture
def door(legacy: tuple[RunningMesh, str]) -> Iterator[httpx.Client]:
    """HTTP to it, as those clients speak it."""
    with httpx.Client(base_url=legacy[0].url, timeout=60, trust_env=False) as session:
        yield session


here = pytest.mark.parametrize("legacy", ["process"], indirect=True)
here_and_on_docker = pytest.mark.parametrize(
    "legacy", ["process", pytest.param("docker", marks=pytest.mark.docker)], indirect=True
)


def _callback(number: str, sent: dict[str, Any], env: dict[str, str]) -> dict[str, Any]:
    return {
        **sent, "callback_id": number, "env": env, "status": False, "created_at": TIME, "updated_at": TIME,
    }  # fmt: skip


PYTHON_CALLBACK: dict[str, Any] = {
    "path": "my_python_function", "method": "POST", "type": "python", "code": PYTHON, "library": "requests==2.28.0",
    "env": {"API_KEY": "secret_key_123", "DB_URL": "postgresql://db:5432/mydb"},
}  # fmt: skip
NODE_CALLBACK: dict[str, Any] = {
    "path": "my_nodejs_function", "method": "POST", "type": "node", "code": NODE, "library": AXIOS,
    "env": {"API_KEY": "node_secret_456", "WEBHOOK_URL": "https://webhook.example.com"},
}  # fmt: skip
DEPLOYING = {"callback_id": "{python}", "status": "deploying", "task_id": UUID}

GATEWAY = [
    Call("POST", "/callbacks/", 201, sends=PYTHON_CALLBACK, saves={"python": "callback_id"},
         answer=_callback(Some(int, least=1), PYTHON_CALLBACK, {"API_KEY": "****", "DB_URL": "****"})),
    Call("POST", "/callbacks/", 201, sends=NODE_CALLBACK, saves={"node": "callback_id"},
         answer=_callback(Some(int, least=2), NODE_CALLBACK, {"API_KEY": "****", "WEBHOOK_URL": "****"})),
    Call("PUT", "/callbacks/{python}", 200, sends={"env": {"API_KEY": "updated_key_789", "LOG_LEVEL": "DEBUG"}},
         answer=_callback("{python}", PYTHON_CALLBACK, {"API_KEY": "****", "LOG_LEVEL": "****"})),
    Call("PUT", "/callbacks/{python}", 200, sends={"env": {"API_KEY": "****", "LOG_LEVEL": "INFO"}},
         answer=_callback("{python}", PYTHON_CALLBACK, {"API_KEY": "****", "LOG_LEVEL": "****"})),
    Call("GET", "/callbacks/{python}?reveal=true", 200,
         answer=_callback("{python}", PYTHON_CALLBACK, {"API_KEY": "updated_key_789", "LOG_LEVEL": "INFO"})),
    Call("POST", "/deploy/", 202, answer=DEPLOYING,
         sends={"callback_id": "{python}", "status": True, "c_type": "{c_type}"}),
    Call("POST", "/callback/deploy", 202, answer=DEPLOYING,
         sends={"callback_id": "{python}", "status": True, "c_type": "{c_type}"}),
    Call("POST", "/deploy/", 202, answer={**DEPLOYING, "callback_id": "{node}"},
         sends={"callback_id": "{node}", "status": True, "c_type": "{c_type}"}),
    Call("POST", "/api/my_python_function", 200, "Success", {"test": "data"}, TEXT, waits=True),
    Call("POST", "/api/my_nodejs_function", 200, "Success", {"test": "data"}, TEXT, waits=True),
    Call("GET", "/health", 200, {"status": "ok", "version": Like(r"\d+\.\d+\..+"), "missing": []}),
    Call("POST", "/deploy/", 202, {**DEPLOYING, "status": "undeploying"},
         {"callback_id": "{python}", "status": False, "c_type": "{c_type}"}),
    Call("POST", "/api/my_python_function", 400, waits=True, sends={"test": "data"}, answer={
        "detail": "Function is not deployed", "code": "FAILED_PRECONDITION", "reason": "NOT_DEPLOYED",
        "trace_id": TRACE}),
    Call("DELETE", "/callbacks/{python}", 204),
    Call("DELETE", "/callbacks/{node}", 204),
    Call("GET", "/callbacks/", 200, []),
]  # fmt: skip


@pytest.mark.node
@here_and_on_docker
def test_the_gateway_with_callbacks(legacy: tuple[RunningMesh, str], door: httpx.Client) -> None:
    replay(door, GATEWAY, {"c_type": legacy[1]})


SHARED: dict[str, Any] = {
    "path": "shared", "method": "GET", "type": "python", "code": "def handler(event): return {'is': str(type(event))}",
    "library": None, "env": {},
}  # fmt: skip
SEVERAL = [
    Call("POST", "/callbacks/", 201, sends=SHARED, saves={"get": "callback_id"}, answer=_callback(COUNT, SHARED, {})),
    Call("POST", "/callbacks/", 409, sends={**SHARED, "method": "ANY"}, answer={
        "detail": "The path 'shared' is taken by 'shared': choose another path or other methods.",
        "code": "ALREADY_EXISTS", "reason": "PATH_TAKEN", "trace_id": TRACE}),
    Call("POST", "/callbacks/", 201, sends={**SHARED, "method": "POST"}, saves={"post": "callback_id"},
         answer=_callback(COUNT, {**SHARED, "method": "POST"}, {})),
    Call("POST", "/deploy/", 202, {**DEPLOYING, "callback_id": "{get}"}, {"callback_id": "{get}", "status": True}),
    Call("GET", "/api/shared", 200, {"is": "<class 'dict'>"}, waits=True),
    Call("DELETE", "/callbacks/{get}", 204),
    Call("DELETE", "/callbacks/{post}", 204),
]  # fmt: skip


@here
def test_callbacks_that_share_a_path_and_what_is_no_text(legacy: tuple[RunningMesh, str], door: httpx.Client) -> None:
    """One whose `c_type` is not said runs where Docker does not answer, too; what is no text is answered as JSON."""
    replay(door, SEVERAL)


# Neither can be installed on Pythons that are newer than it: the first has to be compiled and cannot be, of the
# second there are only files for older ones.
LIBRARY = 'pandas==1.5.0; python_version >= "3.12"\ntensorflow==2.3.0; python_version < "3.12"'


@here
def test_a_library_of_older_pythons(legacy: tuple[RunningMesh, str], door: httpx.Client) -> None:
    given = {"path": "aged", "type": "python", "code": "def handler(event): return 1", "library": LIBRARY}
    number = door.post("/callbacks/", json=given).json()["callback_id"]
    assert door.post("/deploy/", json={"callback_id": number, "status": True}).status_code == 202

    with Mesh(legacy[0].server) as client:
        error = eventually_sync(lambda: next((one.error for one in client.builds("aged")), ""), 90)
    assert error.startswith("ERROR: "), error
    assert "pandas" in error or "tensorflow==2.3.0" in error


CODE = 'def handler(event):\n    print("working")\n    return {"got": event}\n'
WORKSPACE = {
    "id": "{ws}", "workspace_id": "{ws}", "name": "demo", "description": "Demo workspace", "functionCount": 0,
    "invocations24h": 0, "errors24h": 0, "errorRate": 0.0, "createdAt": TIME, "updatedAt": TIME,
}  # fmt: skip
WS, FN = Like("ws-[a-z0-9]{12}"), Like("fn-[a-z0-9]{12}")
FUNCTION_IN = {
    "name": "hello", "description": "Says hello", "runtime": "python3.12",
    "code": base64.b64encode(CODE.encode()).decode(), "environmentVariables": {"K": "V"}, "memory": 256, "timeout": 30,
    "httpMethods": ["GET", "POST"],
}  # fmt: skip
FUNCTION = {
    "id": "{fn}", "function_id": "{fn}", "workspaceId": "{ws}", "name": "hello", "description": "Says hello",
    "runtime": "python3.12", "status": "created", "path": "hello", "httpMethods": ["GET", "POST"],
    "environmentVariables": {"K": "****"}, "memory": 256, "timeout": 30.0, "invocationUrl": None,
    "invocations24h": 0, "errors24h": 0, "avgDuration": 0.0, "createdAt": TIME, "updatedAt": TIME,
}  # fmt: skip
ENDPOINT = "http://hello.default.svc.cluster.local"
RUN = {
    "id": "{log_id}", "timestamp": TIME, "status": "success", "duration": AMOUNT, "statusCode": 200,
    "requestBody": '{"message": "hello"}', "responseBody": '{"got":{"message":"hello"}}', "logs": "working",
    "level": "INFO", "coldStart": Some(bool), "traceId": "{trace_id}", "error": None,
}  # fmt: skip
SERIES = {"current": AMOUNT, "series": Each({"timestamp": TIME, "value": AMOUNT})}
BASE = "/api/workspaces/{ws}/functions/{fn}"

WORKSPACES = [
    Call("POST", "/api/workspaces", 201, sends={"name": "demo", "description": "Demo workspace"}, saves={"ws": "id"},
         answer={**WORKSPACE, "id": WS, "workspace_id": WS}),
    Call("GET", "/api/workspaces/{ws}", 200, WORKSPACE),
    Call("PATCH", "/api/workspaces/{ws}", 200, {**WORKSPACE, "description": "Ours"}, {"description": "Ours"}),
    Call("POST", "/api/workspaces/{ws}/functions", 201, sends=FUNCTION_IN, saves={"fn": "id"},
         answer={**FUNCTION, "id": FN, "function_id": FN}),
    Call("PATCH", BASE, 200, {**FUNCTION, "invocationUrl": ENDPOINT}, {"invocationUrl": ENDPOINT}),
    Call("POST", f"{BASE}/invoke", 400, sends={"message": "hello"}, answer={
        "detail": "Function is not deployed", "code": "FAILED_PRECONDITION", "reason": "NOT_DEPLOYED",
        "trace_id": TRACE}),
    Call("POST", f"{BASE}/deploy", 202, {"function_id": "{fn}", "status": "deploying", "task_id": UUID}),
    Call("POST", f"{BASE}/invoke", 200, waits=True, sends={"message": "hello"},
         saves={"log_id": "logId", "trace_id": "traceId"}, answer={
             "statusCode": 200, "body": {"got": {"message": "hello"}}, "isBase64Encoded": False,
             "headers": {"content-type": "application/json"}, "duration": AMOUNT,
             "logId": Like("[0-9a-z]+"), "traceId": TRACE}),
    Call("GET", f"{BASE}/logs", 200, {"logs": Among(RUN), "next_page_token": ""}, waits=True),
    Call("GET", "/api/functions/{fn}/loki-logs?limit=100", 200, waits=True, answer={
        "function_id": "{fn}", "source": "builtin", "logs": Among({"timestamp": TIME, "line": "working", "labels": {
            "function_id": "{fn}", "workspace_id": "{ws}", "revision": "1", "instance": Like("in-.+"),
            "stream": "stdout", "trace_id": "{trace_id}"}})}),
    Call("GET", "/api/functions/{fn}/metrics", 200, waits=True, answer={
        "function_id": "{fn}", "cpu": SERIES, "memory": SERIES, "invocations": 1, "errors": 0,
        "latency_ms": {"p50": AMOUNT, "p95": AMOUNT, "p99": AMOUNT}, "source": "builtin"}),
    Call("DELETE", BASE, 204),
    Call("GET", BASE, 404, {"detail": Like("There is no function .*"), "code": "NOT_FOUND",
                            "reason": "FUNCTION_NOT_FOUND", "trace_id": TRACE}),
    Call("DELETE", "/api/workspaces/{ws}", 204),
    Call("GET", "/api/workspaces/{ws}", 404, {
        "detail": "There is no workspace '{ws}'.", "code": "NOT_FOUND", "reason": "WORKSPACE_NOT_FOUND",
        "trace_id": TRACE}),
]  # fmt: skip


@here
def test_workspaces_and_functions(legacy: tuple[RunningMesh, str], door: httpx.Client) -> None:
    values = replay(door, WORKSPACES[:1])
    assert door.get("/api/workspaces").json() == Among({**WORKSPACE, "id": values["ws"], "workspace_id": values["ws"]})
    replay(door, WORKSPACES[1:], values)


JOB = {
    "job_id": "{job}", "project": "my-project", "code_key": "{code_key}", "language": "python", "status": "SUCCESS",
    "exit_code": 0, "log_key": Like("jobs/ws-.+/.+[.]log"), "created_at": TIME, "updated_at": TIME,
    "started_at": TIME, "completed_at": TIME, "error": None,
}  # fmt: skip
CLUSTER = "/api/cloudwatch/softbank-execution-engine"
POINT = {"timestamp": TIME, "cpu_utilization": AMOUNT, "memory_utilization": AMOUNT}
JOBS = [
    Call("POST", "/api/upload", 201, saves={"job": "job_id", "code_key": "code_key"},
         sends={"project": "my-project", "code": 'print("hello")', "language": "python"},
         answer={"job_id": UUID, "project": "my-project", "code_key": Like("my-project/[0-9a-f]{8}[.]py"),
                 "status": "PENDING", "message": "Code uploaded successfully"}),
    Call("POST", "/api/execute/{job}", 202, {"job_id": "{job}", "status": "RUNNING", "message": "Execution started"}),
    Call("POST", "/api/execute/{job}", 409, {
        "detail": Like("The job was started before; it is [A-Z]+[.]"), "code": "ABORTED", "reason": "JOB_STARTED",
        "trace_id": TRACE}),
    Call("GET", "/api/jobs/{job}", 200, JOB, waits=True, saves={"log_key": "log_key"}),
    Call("GET", "/api/jobs?status=&page_size=&page_token=", 200, {"jobs": Among(JOB), "next_page_token": ""}),
    Call("GET", "/api/jobs?status=SUCCESS&page_size=10&page_token=", 200, {"jobs": Among(JOB), "next_page_token": ""}),
    Call("GET", "/api/jobs?status=FAILED", 200, {"jobs": [], "next_page_token": ""}),
    Call("GET", "/api/projects/my-project/jobs", 200, {"jobs": Among(JOB), "next_page_token": ""}),
    Call("GET", "/api/projects", 200, {"projects": Among(
        {"project": "my-project", "job_count": 1, "created_at": TIME})}),
    Call("POST", "/api/project", 201, {"project": "p2", "job_count": 0, "created_at": TIME}, {"project": "p2"}),
    Call("GET", "/api/log?log_key={log_key}", 200, "hello\n", content_type=TEXT),
    Call("GET", "/api/log?log_key=jobs/ws-other/00000000-0000-0000-0000-000000000000.log", 404, {
        "detail": Like(".+"), "code": "NOT_FOUND", "reason": Like("(LOG|JOB)_NOT_FOUND"), "trace_id": TRACE}),
    Call("GET", f"{CLUSTER}?minutes=10&period=60", 200, {
        "cluster": "softbank-execution-engine", "points": Each(POINT)}),
    Call("GET", f"{CLUSTER}/metrics", 200, {"metrics": ["CPUUtilization", "MemoryUtilization"]}),
    Call("GET", "/api/cloudwatch/nowhere?minutes=10&period=60", 404, {
        "detail": "There is no cluster 'nowhere'.", "code": "NOT_FOUND", "reason": "CLUSTER_NOT_FOUND",
        "trace_id": TRACE}),
    Call("GET", f"{CLUSTER}?minutes=61", 422, {
        "detail": [{"loc": ["query", "minutes"], "msg": Like(".+"), "type": "less_than_equal"}],
        "code": "INVALID_ARGUMENT", "reason": "REQUEST_INVALID", "trace_id": TRACE}),
    Call("GET", f"{CLUSTER}?period=0", 422, {
        "detail": [{"loc": ["query", "period"], "msg": Like(".+"), "type": "greater_than_equal"}],
        "code": "INVALID_ARGUMENT", "reason": "REQUEST_INVALID", "trace_id": TRACE}),
    Call("GET", "/api/health", 200, {"status": "ok"}),
]  # fmt: skip


@here
def test_jobs(legacy: tuple[RunningMesh, str], door: httpx.Client) -> None:
    replay(door, JOBS)
