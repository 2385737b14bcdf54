"""The examples that older clients know."""

from __future__ import annotations

import httpx
import pytest

from tests.support.eventually import eventually_sync
from tests.support.running_mesh import RunningMesh


@pytest.mark.node
def test_the_examples_are_made_once_and_answer(mesh: RunningMesh, http: httpx.Client) -> None:
    first, second = mesh.cli("seed").stdout, mesh.cli("seed").stdout

    assert "1001" in first
    assert "1002" in first
    assert second == "The examples 1001 and 1002 are there already.\n"
    for number, path, language in ((1001, "python-lambda", "python"), (1002, "node-lambda", "node")):
        callback = http.get(f"/callbacks/{number}").json()
        assert (callback["callback_id"], callback["path"], callback["method"]) == (number, path, "GET,POST")
        given = {"callback_id": number, "status": True, "c_type": "process"}
        assert http.post("/deploy/", json=given).status_code == 202
        answer = eventually_sync(lambda path=path: _answered(http, path), 60)  # type: ignore[misc]
        assert answer.json() == {"language": language, "greeting": "Hello", "method": "GET"}
    made = http.post("/callbacks/", json={"path": "mine", "type": "python", "code": "def handler(e): return 1"})
    assert made.json()["callback_id"] < 1001


def _answered(http: httpx.Client, path: str) -> httpx.Response | None:
    answer = http.get(f"/api/{path}")
    return answer if answer.status_code == 200 else None


def test_only_the_numbers_of_the_examples_may_be_asked_for(mesh: RunningMesh) -> None:
    from cli.commands.seed import SEEDS
    from fnmesh.client import Mesh
    from fnmesh.client.errors import RpcFailed

    with Mesh(mesh.server) as client, pytest.raises(RpcFailed, match="Only the numbers 1001 and 1002"):
        client.create(SEEDS / "python_lambda", number=7, name="seven", path="seven")
