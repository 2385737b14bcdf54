"""Workspaces and functions over REST."""

from __future__ import annotations

import base64

import httpx

from fnmesh.client import Mesh
from tests.support.eventually import eventually_sync

HELLO = 'def handler(event):\n    print("working")\n    return {"got": event}\n'


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_a_workspace_from_its_making_to_its_end(http: httpx.Client) -> None:
    made = http.post("/api/workspaces", json={"name": "rest-demo", "description": "Demo workspace"})

    assert made.status_code == 201, made.text
    workspace = made.json()
    uid = workspace["id"]
    assert uid.startswith("ws-")
    assert workspace == {
        "id": uid, "workspace_id": uid, "name": "rest-demo", "description": "Demo workspace", "functionCount": 0,
        "invocations24h": 0, "errors24h": 0, "errorRate": 0.0,
        "createdAt": workspace["createdAt"], "updatedAt": workspace["updatedAt"],
    }  # fmt: skip
    assert workspace in http.get("/api/workspaces").json()
    assert http.get(f"/api/workspaces/{uid}").json() == workspace
    again = http.post("/api/workspaces", json={"name": "rest-demo"})
    assert (again.status_code, again.json()["reason"]) == (409, "NAME_TAKEN")
    assert http.patch(f"/api/workspaces/{uid}", json={"description": "Ours"}).json()["description"] == "Ours"
    assert http.delete(f"/api/workspaces/{uid}").status_code == 204
    assert http.get(f"/api/workspaces/{uid}").status_code == 404


def test_a_function_from_its_making_to_its_end(http: httpx.Client, client: Mesh) -> None:
    uid = http.post("/api/workspaces", json={"name": "rest-functions"}).json()["id"]
    given = {
        "name": "rest-hello", "description": "Says what it got", "runtime": "python3.12", "code": _encoded(HELLO),
        "environmentVariables": {"K": "V"}, "memory": 256, "timeout": 30, "httpMethods": ["GET", "POST"],
    }  # fmt: skip
    made = http.post(f"/api/workspaces/{uid}/functions", json=given)

    assert made.status_code == 201, made.text
    function = made.json()
    base = f"/api/workspaces/{uid}/functions/{function['id']}"
    assert function["id"] == function["function_id"]
    expected = {
        "workspaceId": uid, "name": "rest-hello", "runtime": "python3.12", "status": "created", "invocationUrl": None,
        "invocations24h": 0, "errors24h": 0, "avgDuration": 0.0, "memory": 256, "timeout": 30.0,
        "httpMethods": ["GET", "POST"], "environmentVariables": {"K": "****"},
    }  # fmt: skip
    assert {name: function[name] for name in expected} == expected
    refused = http.post(f"{base}/invoke", json={"message": "hello"})
    assert refused.status_code == 400
    assert refused.json() == {
        "detail": "Function is not deployed", "code": "FAILED_PRECONDITION", "reason": "NOT_DEPLOYED",
        "trace_id": refused.headers["x-trace-id"],
    }  # fmt: skip

    assert http.post(f"{base}/deploy").status_code == 202
    eventually_sync(lambda: http.get(base).json()["status"] == "deployed", 60)
    answer = http.post(f"{base}/invoke", json={"message": "hello"})

    assert answer.status_code == 200, answer.text
    result = answer.json()
    assert (result["statusCode"], result["body"]) == (200, {"got": {"message": "hello"}})
    assert result["duration"] > 0
    url = http.get(base).json()["invocationUrl"]
    assert url == str(http.base_url.join("/api/rest-hello"))
    assert http.patch(base, json={"invocationUrl": url}).status_code == 200
    stolen = http.patch(base, json={"invocationUrl": "http://169.254.169.254/latest"})
    assert (stolen.status_code, stolen.json()["reason"]) == (422, "INVOCATION_URL_NOT_ALLOWED")

    def logged() -> list[dict[str, object]]:
        runs = http.get(f"{base}/logs", params={"page_size": 1}).json()["logs"]
        return [run for run in runs if run["id"] == result["logId"] and run["logs"] == "working"]

    (run,) = eventually_sync(logged, 10)
    assert (run["status"], run["statusCode"], run["traceId"]) == ("success", 200, result["traceId"])
    counted = eventually_sync(lambda: (got := http.get(base).json())["invocations24h"] and got, 10)
    assert (counted["invocations24h"], counted["errors24h"]) == (1, 0)
    assert http.get(f"/api/workspaces/{uid}").json()["functionCount"] == 1
    assert "rest-hello" in [one.display_name for one in client.list(workspace="rest-functions")]

    assert http.patch(base, json={"environmentVariables": {"K": "W"}, "timeout": 5}).json()["timeout"] == 5.0
    limited = http.patch(base, json={"limits": {"memory": 128, "timeout": 6, "cpu": 0.5, "concurrency": 3}}).json()
    assert (limited["memory"], limited["timeout"]) == (128, 6.0)
    (shown,) = client.list(workspace="rest-functions")
    assert (shown.limits.cpu_millis, shown.limits.concurrency) == (500, 3)
    client.stop(f"workspaces/{uid}/functions/{function['id']}")
    eventually_sync(lambda: http.get(base).json()["status"] == "stopped", 60)
    assert http.post(f"{base}/invoke", json={}).status_code == 400
    assert http.delete(base).status_code == 204
    assert http.get(base).status_code == 404
    assert http.delete(f"/api/workspaces/{uid}").status_code == 204


def test_the_client_and_rest_see_the_same_workspaces(http: httpx.Client, client: Mesh) -> None:
    made = client.create_workspace("by-client", "Made by the client")
    assert (found := http.get(f"/api/workspaces/{made.uid}").json())["name"] == "by-client"
    assert found["description"] in [one.description for one in client.workspaces()]
    client.delete_workspace("by-client")
    assert http.get(f"/api/workspaces/{made.uid}").status_code == 404


def test_code_that_is_no_base64(http: httpx.Client) -> None:
    answer = http.post(
        "/api/workspaces/default/functions", json={"name": "x", "runtime": "python3.12", "code": "not base64!"}
    )

    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "code"])


def test_a_workspace_that_is_not_there(http: httpx.Client) -> None:
    given = {"name": "x", "runtime": "python3.12", "code": _encoded(HELLO)}
    answer = http.post("/api/workspaces/nowhere/functions", json=given)

    assert (answer.status_code, answer.json()["reason"]) == (404, "WORKSPACE_NOT_FOUND")


def test_what_is_not_there_and_what_is_not_json(http: httpx.Client) -> None:
    nothing = http.get("/api/workspaces/default/nothing")
    wrong = http.put("/api/workspaces/default")
    torn = http.post("/api/workspaces", content=b"{", headers={"content-type": "application/json"})

    assert (nothing.status_code, nothing.json()["reason"]) == (404, "PATH_UNKNOWN")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "UNIMPLEMENTED")
    assert (torn.status_code, torn.json()["code"]) == (422, "INVALID_ARGUMENT")
