"""The older gateway's calls, in the order in which its users make them."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest

from fnmesh.client import Mesh
from tests.support.eventually import eventually_sync
from tests.support.running_mesh import RunningMesh

CODE = """import os

def handler(event):
    return {"statusCode": 200, "body": "Success " + os.environ.get("API_KEY", "-")}
"""
GIVEN = {
    "path": "my_python_function",
    "method": "POST",
    "type": "python",
    "code": CODE,
    "library": "six==1.16.0",
    "env": {"API_KEY": "secret_key_123", "DB_URL": "postgresql://db:5432/mydb"},
}
NODE = 'exports.handler = async (event) => ({statusCode: 200, body: "Success " + process.env.API_KEY});\n'


def _answered(http: httpx.Client, path: str, text: str) -> httpx.Response | None:
    answer = http.post(path, json={"test": "data"})
    return answer if answer.status_code == 200 and answer.text == text else None


def _deployed(http: httpx.Client, number: int, path: str, text: str, **fields: Any) -> httpx.Response:
    given = {"callback_id": number, "status": True, "c_type": "process", **fields}
    answer = http.post("/deploy/", json=given)
    assert answer.status_code == 202, answer.text
    begun = answer.json()
    assert begun == {"callback_id": number, "status": "deploying", "task_id": begun["task_id"]}
    assert uuid.UUID(begun["task_id"])
    found = eventually_sync(lambda: _answered(http, path, text), 90)
    assert found is not None
    return found


def test_a_callback_from_its_making_to_its_end(http: httpx.Client, client: Mesh) -> None:
    made = http.post("/callbacks/", json=GIVEN)

    assert made.status_code == 201, made.text
    callback = made.json()
    number = callback["callback_id"]
    assert isinstance(number, int)
    assert callback == {
        **GIVEN,
        "callback_id": number,
        "env": {"API_KEY": "****", "DB_URL": "****"},
        "status": False,
        "created_at": callback["created_at"],
        "updated_at": callback["updated_at"],
    }
    assert http.get(f"/callbacks/{number}").json() == callback
    assert callback in http.get("/callbacks/").json()
    assert "my_python_function" in [one.display_name for one in client.list()]
    refused = http.post("/api/my_python_function", json={})
    assert (refused.status_code, refused.json()["reason"]) == (400, "NOT_DEPLOYED")

    answer = _deployed(http, number, "/api/my_python_function", "Success secret_key_123")

    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    builds = len(client.builds("my_python_function"))
    changed = http.put(f"/callbacks/{number}", json={"env": {"API_KEY": "updated_key_789", "DB_URL": "****"}})
    assert changed.status_code == 200, changed.text
    assert changed.json()["env"] == {"API_KEY": "****", "DB_URL": "****"}
    assert eventually_sync(lambda: _answered(http, "/api/my_python_function", "Success updated_key_789"), 30)
    assert len(client.builds("my_python_function")) == builds
    shown = http.get(f"/callbacks/{number}", params={"reveal": "true"}).json()
    assert shown["env"]["DB_URL"] == GIVEN["env"]["DB_URL"]  # type: ignore[index]

    newer = CODE.replace("Success", "Better")
    assert http.put(f"/callbacks/{number}", json={"code": newer}).json()["code"] == newer
    assert _answered(http, "/api/my_python_function", "Success updated_key_789")
    _deployed(http, number, "/api/my_python_function", "Better updated_key_789")
    assert http.get(f"/callbacks/{number}").json()["library"] == GIVEN["library"]

    ended = http.post("/callback/deploy", json={"callback_id": number, "status": False})
    assert (ended.status_code, ended.json()["status"]) == (202, "undeploying")
    eventually_sync(lambda: http.post("/api/my_python_function", json={}).status_code == 400, 30)
    assert http.delete(f"/callbacks/{number}").status_code == 204
    gone = http.get(f"/callbacks/{number}")
    assert (gone.status_code, gone.json()["reason"]) == (404, "CALLBACK_NOT_FOUND")
    assert gone.json()["trace_id"] == gone.headers["x-trace-id"]


@pytest.mark.node
def test_a_node_callback(http: httpx.Client) -> None:
    given = {"path": "my_nodejs_function", "method": "POST", "type": "node", "code": NODE, "env": {"API_KEY": "n"}}
    made = http.post("/callbacks/", json=given)

    assert made.status_code == 201, made.text
    _deployed(http, made.json()["callback_id"], "/api/my_nodejs_function", "Success n")


def test_the_same_path_for_other_methods(http: httpx.Client) -> None:
    given = {"path": "shared", "method": "GET", "type": "python", "code": CODE}
    first, second = http.post("/callbacks/", json=given), http.post("/callbacks/", json={**given, "method": "PUT"})
    third = http.post("/callbacks/", json={**given, "method": "ANY"})

    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json()["callback_id"] > first.json()["callback_id"]
    assert (third.status_code, third.json()["reason"]) == (409, "PATH_TAKEN")


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"path": "workspaces/x"}, ["body", "path"]),
        ({"path": "../x"}, ["body", "path"]),
        ({"method": "GE T"}, ["body", "method"]),
        ({"type": "ruby"}, ["body", "type"]),
        ({"code": ""}, ["body", "code"]),
        ({"env": {"1X": "y"}}, ["body", "env", "1X", "[key]"]),
        ({"env": []}, ["body", "env"]),
    ],
)
def test_what_does_not_validate(http: httpx.Client, change: dict[str, Any], where: list[str]) -> None:
    answer = http.post("/callbacks/", json={**GIVEN, "path": "refused", **change})

    assert answer.status_code == 422, answer.text
    assert [one["loc"] for one in answer.json()["detail"]] == [where]
    assert answer.json()["trace_id"] == answer.headers["x-trace-id"]


def test_library_that_cannot_be_installed_fails_with_the_tools_own_line(http: httpx.Client, client: Mesh) -> None:
    given = {**GIVEN, "path": "unbuildable", "library": "no-such-library-for-fnmesh==1"}
    number = http.post("/callbacks/", json=given).json()["callback_id"]
    http.post("/deploy/", json={"callback_id": number, "status": True, "c_type": "process"})

    error = eventually_sync(lambda: next((one.error for one in client.builds("unbuildable")), ""), 90)

    assert error == "ERROR: No matching distribution found for no-such-library-for-fnmesh==1"


def test_a_page_of_another_origin_may_not_call(mesh: RunningMesh, http: httpx.Client) -> None:
    answer = http.post("/callbacks/", json=GIVEN, headers={"origin": "https://evil.example"})

    assert (answer.status_code, answer.json()["reason"]) == (403, "ORIGIN_NOT_ALLOWED")
