"""The REST facade asks for the same keys as gRPC does."""

from __future__ import annotations

import httpx

from fnmesh.client import Mesh
from tests.support.running_mesh import RunningMesh

GIVEN = {"path": "keyed", "type": "python", "code": "def handler(event): return 1", "env": {"SECRET": "hidden"}}


def _http(keyed: tuple[RunningMesh, str], key: str = "") -> httpx.Client:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.Client(base_url=keyed[0].url, headers=headers, timeout=30, trust_env=False)


def test_without_a_good_key_nothing_is_told(keyed: tuple[RunningMesh, str]) -> None:
    for key in ("", "fnm_wrong"):
        with _http(keyed, key) as http:
            for method, path in (("GET", "/callbacks/"), ("POST", "/callbacks/"), ("GET", "/api/workspaces")):
                answer = http.request(method, path, json=GIVEN if method == "POST" else None)
                assert answer.status_code == 401, path
                assert answer.json()["code"] == "UNAUTHENTICATED"


def test_a_key_does_what_its_scope_says(keyed: tuple[RunningMesh, str], admin: Mesh) -> None:
    deployer = admin.create_key(["deploy"]).secret
    invoker = admin.create_key(["invoke"]).secret
    with _http(keyed, deployer) as http:
        made = http.post("/callbacks/", json=GIVEN)
        assert made.status_code == 201, made.text
        number = made.json()["callback_id"]
        revealed = http.get(f"/callbacks/{number}", params={"reveal": "true"})
        assert (revealed.status_code, revealed.json()["code"]) == (403, "PERMISSION_DENIED")
    with _http(keyed, invoker) as http:
        assert http.get(f"/callbacks/{number}").status_code == 403
    with _http(keyed, keyed[1]) as http:
        shown = http.get(f"/callbacks/{number}", params={"reveal": "true"})
        assert shown.json()["env"] == {"SECRET": "hidden"}


def test_a_key_of_a_workspace_sees_that_workspace(keyed: tuple[RunningMesh, str], admin: Mesh) -> None:
    with _http(keyed, keyed[1]) as http:
        uid = http.post("/api/workspaces", json={"name": "closed"}).json()["id"]
    bound = admin.create_key(["deploy"], workspace="closed").secret
    with _http(keyed, bound) as http:
        assert [one["id"] for one in http.get("/api/workspaces").json()] == [uid]
        assert http.get("/api/workspaces/default").status_code == 403
        assert http.get("/callbacks/").status_code == 403
