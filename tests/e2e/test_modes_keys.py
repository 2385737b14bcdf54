"""FNMESH_AUTH=keys: who may do what, and how long a key is good for."""

from __future__ import annotations

import json

import grpc
import httpx
import pytest

from fnmesh.client import InvalidArgument, Mesh, NotFound, PermissionDenied, Unauthenticated
from fnmesh.registry.v1 import registry_service_pb2 as pb
from fnmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from tests.e2e.conftest import MakeSource
from tests.support.eventually import eventually_sync
from tests.support.running_mesh import RunningMesh

SEEN = """
    def handler(event):
        return {"authorization": (event.get("headers") or {}).get("authorization", "")}
"""


def _deploy(keyed: tuple[RunningMesh, str], make_source: MakeSource, name: str, *flags: str) -> str:
    """Deploys a function as admin; its URL."""
    source = str(make_source(name, **{"handler.py": SEEN}))
    return keyed[0].cli("deploy", source, "--target", "process", *flags, FNMESH_API_KEY=keyed[1]).stdout.strip()


def _status(url: str, secret: str = "") -> int:
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    return httpx.get(url, headers=headers, trust_env=False).status_code


@pytest.mark.parametrize("secret", ["", "fnm_wrong", "x" * 5000])
def test_control_calls_without_a_good_key_are_refused(keyed: tuple[RunningMesh, str], secret: str) -> None:
    metadata = (("authorization", f"Bearer {secret}"),) if secret else ()
    with grpc.insecure_channel(keyed[0].server) as channel, pytest.raises(grpc.RpcError) as refused:
        RegistryServiceStub(channel).ListFunctions(
            pb.ListFunctionsRequest(parent="workspaces/default"), timeout=10, metadata=metadata
        )

    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    details = refused.value.details() or ""
    assert "API key" in details
    assert secret == "" or secret not in details


def test_function_with_access_by_key(keyed: tuple[RunningMesh, str], make_source: MakeSource, admin: Mesh) -> None:
    closed = _deploy(keyed, make_source, "closed", "--access", "key")
    opened = _deploy(keyed, make_source, "opened", "--access", "public")

    refused = httpx.get(closed, trust_env=False)
    body = refused.json()
    by_key = httpx.get(closed, headers={"authorization": f"bearer {keyed[1]}"}, trust_env=False)

    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert (body["code"], body["reason"]) == ("UNAUTHENTICATED", "KEY_MISSING")
    assert "Authorization: Bearer" in body["detail"]
    assert body["trace_id"] == refused.headers["x-trace-id"]
    assert _status(closed, "fnm_wrong") == 401
    assert by_key.json() == {"authorization": ""}  # the mesh's key is not for the function to see
    assert _status(opened) == 200
    own = httpx.get(opened, headers={"authorization": "Bearer theirs"}, trust_env=False)
    assert own.json() == {"authorization": "Bearer theirs"}


def test_scopes(keyed: tuple[RunningMesh, str], make_source: MakeSource, admin: Mesh) -> None:
    url = _deploy(keyed, make_source, "scopes", "--access", "key")
    deployer = admin.create_key(["deploy"]).secret
    caller = admin.create_key(["invoke"]).secret

    with Mesh(keyed[0].server, api_key=deployer) as mesh:
        assert "scopes" in [one.display_name for one in mesh.list()]
        mesh.env_set("scopes", {"A": "1"})
        with pytest.raises(PermissionDenied):
            mesh.create_key(["admin"])
        with pytest.raises(PermissionDenied):
            mesh.keys()
        with pytest.raises(PermissionDenied):
            mesh.invoke("scopes", {})
        with pytest.raises(PermissionDenied):
            mesh.show("scopes", reveal_env=True)
    with Mesh(keyed[0].server, api_key=caller) as mesh:
        assert mesh.invoke("scopes", {}).status == 200
        for call in (mesh.list, mesh.keys, lambda: mesh.show("scopes"), lambda: mesh.env_set("scopes", {"B": "2"}),
                     lambda: mesh.builds("scopes"), lambda: list(mesh.logs("scopes")), mesh.targets,
                     lambda: mesh.trace("0" * 31 + "1"), lambda: mesh.delete("scopes")):  # fmt: skip
            with pytest.raises(PermissionDenied):
                call()
    assert (_status(url, caller), _status(url, deployer), _status(url, keyed[1])) == (200, 403, 200)
    refused = keyed[0].cli("list", check=False, FNMESH_API_KEY=caller)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "scope 'deploy'" in refused.stderr


def test_revoked_key_is_refused_within_ten_seconds(
    keyed: tuple[RunningMesh, str], make_source: MakeSource, admin: Mesh
) -> None:
    url = _deploy(keyed, make_source, "revoked", "--access", "key")
    made = admin.create_key(["invoke", "deploy"], display_name="short-lived")
    with Mesh(keyed[0].server, api_key=made.secret) as mesh:
        mesh.list(), mesh.targets(), mesh.builds("revoked")  # every service has seen it
        assert _status(url, made.secret) == 200

        admin.revoke_key(made.api_key.name)

        def refused() -> bool:
            return _status(url, made.secret) == 401 and all(
                _is_refused(call) for call in (mesh.list, mesh.targets, lambda: mesh.builds("revoked"))
            )

        eventually_sync(refused, 20, interval_s=0.2)  # 10 s are promised; a loaded machine is slower
    listed = json.loads(keyed[0].cli("key", "list", "--json", FNMESH_API_KEY=keyed[1]).stdout)["apiKeys"]
    (mine,) = [one for one in listed if one.get("displayName") == "short-lived"]
    assert mine["revokeTime"]
    assert made.secret not in json.dumps(listed)


def _is_refused(call: object) -> bool:
    assert callable(call)
    try:
        call()
    except Unauthenticated:
        return True
    return False


def test_key_of_a_workspace_sees_nothing_of_another(
    keyed: tuple[RunningMesh, str], make_source: MakeSource, admin: Mesh
) -> None:
    theirs = _deploy(keyed, make_source, "theirs", "--access", "key")
    mine = _deploy(keyed, make_source, "mine", "--access", "key", "--workspace", "team-a")
    bound = admin.create_key(["deploy", "invoke"], workspace="team-a").secret
    (build,) = admin.builds("theirs")

    assert (_status(mine, bound), _status(theirs, bound)) == (200, 403)
    with Mesh(keyed[0].server, api_key=bound, workspace="team-a") as mesh:
        assert [one.display_name for one in mesh.list()] == ["mine"]
        assert [one.display_name for one in mesh.list(workspace="-")] == ["mine"]
        with pytest.raises(NotFound, match="this key's workspace"):
            mesh.trace("0" * 31 + "1")
        assert mesh.invoke("mine", {}).status == 200
        assert mesh.env_set("mine", {"A": "1"}).display_name == "mine"
    with Mesh(keyed[0].server, api_key=bound) as mesh:
        uid = admin.show("theirs").name.rpartition("/")[2]
        for name in ("theirs", uid, f"workspaces/-/functions/{uid}"):
            for call in (mesh.show, mesh.builds, mesh.executions, mesh.deployment, mesh.revisions, mesh.delete,
                         lambda one: mesh.invoke(one, {}), lambda one: list(mesh.logs(one)),
                         lambda one: mesh.env_set(one, {"A": "1"})):  # fmt: skip
                with pytest.raises((PermissionDenied, NotFound, InvalidArgument)):
                    call(name)
        with pytest.raises((PermissionDenied, NotFound)):
            list(mesh.build_events(build.name))
        with pytest.raises(PermissionDenied):
            mesh.list()
    assert admin.show("theirs").display_name == "theirs"


def test_key_of_a_workspace_makes_none_for_others(keyed: tuple[RunningMesh, str], admin: Mesh) -> None:
    team = admin.create_key(["admin"], workspace="default").secret
    with Mesh(keyed[0].server, api_key=team) as bound:
        with pytest.raises(PermissionDenied):
            bound.create_key(["admin"])
        inner = bound.create_key(["invoke"], workspace="default")
        assert inner.api_key.workspace
        seen = bound.keys()
        assert {key.workspace for key in seen} == {inner.api_key.workspace}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/metrics", 200),
        ("/api/cloudwatch/default", 200),
        ("/api/cloudwatch/default/metrics", 200),
        ("/api/functions/fn-nothing/metrics", 404),
        ("/api/functions/fn-nothing/loki-logs", 404),
        ("/api/functions/fn-nothing/loki-logs?follow=true", 404),
    ],
)
def test_what_functions_write_and_use_is_for_who_deploys(
    keyed: tuple[RunningMesh, str], admin: Mesh, path: str, status: int
) -> None:
    url = keyed[0].url + path
    assert _status(url) == 401
    assert _status(url, admin.create_key(["invoke"]).secret) == 403
    assert _status(url, admin.create_key(["deploy"]).secret) == status
    assert _status(url, admin.create_key(["deploy"], workspace="default").secret) == status
