"""Who gets in: the public API by reflection, nothing internal, keys where they are asked for."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from fnmesh.client import Mesh, PermissionDenied, Unauthenticated
from fnmesh.internal.registry.v1 import registry_internal_service_pb2 as internal_pb
from fnmesh.internal.registry.v1.registry_internal_service_pb2_grpc import RegistryInternalServiceStub
from tests.e2e.conftest import MakeSource
from tests.support import buf
from tests.support.eventually import eventually_sync
from tests.support.running_mesh import ROOT, RunningMesh

HELLO = "def handler(event):\n    return {'hello': event.get('name', 'world')}\n"
PUBLIC = {
    "fnmesh.registry.v1.RegistryService",
    "fnmesh.build.v1.BuildService",
    "fnmesh.deploy.v1.DeployService",
    "fnmesh.invoke.v1.InvokeService",
    "fnmesh.trace.v1.TraceService",
}


class ReflectingClient:
    """A client that knows an address and nothing else: like grpcurl, it asks the server for its types."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        self._pool = descriptor_pool.DescriptorPool()
        self._added: set[str] = set()

    def services(self) -> set[str]:
        answer = self._ask(reflection_pb2.ServerReflectionRequest(list_services=""))
        return {service.name for service in answer.list_services_response.service}

    def knows(self, symbol: str) -> bool:
        answer = self._ask(reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol))
        return not answer.HasField("error_response")

    def call(self, service: str, method: str, request: dict[str, Any]) -> dict[str, Any]:
        """One unary call, JSON in and out."""
        self._load(reflection_pb2.ServerReflectionRequest(file_containing_symbol=service))
        found = self._pool.FindServiceByName(service).FindMethodByName(method)
        request_type = message_factory.GetMessageClass(found.input_type)
        answer_type = message_factory.GetMessageClass(found.output_type)
        rpc = self._channel.unary_unary(
            f"/{service}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer_type.FromString,
        )
        return json_format.MessageToDict(rpc(json_format.ParseDict(request, request_type()), timeout=30))

    def _load(self, request: reflection_pb2.ServerReflectionRequest) -> None:
        files = [
            descriptor_pb2.FileDescriptorProto.FromString(raw)
            for raw in self._ask(request).file_descriptor_response.file_descriptor_proto
        ]
        by_name = {file.name: file for file in files}
        for file in files:
            self._add(file, by_name)

    def _add(
        self, file: descriptor_pb2.FileDescriptorProto, others: dict[str, descriptor_pb2.FileDescriptorProto]
    ) -> None:
        if file.name in self._added:
            return
        self._added.add(file.name)
        for needed in file.dependency:
            if needed in others:
                self._add(others[needed], others)
            elif needed not in self._added:
                self._load(reflection_pb2.ServerReflectionRequest(file_by_filename=needed))
        self._pool.Add(file)

    def _ask(self, request: reflection_pb2.ServerReflectionRequest) -> reflection_pb2.ServerReflectionResponse:
        return next(iter(self._stub.ServerReflectionInfo(iter([request]), timeout=10)))


@pytest.fixture
def channel(mesh: RunningMesh) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(mesh.server) as opened:
        yield opened


def test_api_can_be_called_by_reflection_alone(
    mesh: RunningMesh, channel: grpc.Channel, make_source: MakeSource
) -> None:
    mesh.cli("deploy", str(make_source("reflected", **{"handler.py": HELLO})), "--target", "process")
    reflecting = ReflectingClient(channel)

    services = reflecting.services()
    listed = reflecting.call("fnmesh.registry.v1.RegistryService", "ListFunctions", {"parent": "workspaces/default"})
    answer = reflecting.call(
        "fnmesh.invoke.v1.InvokeService",
        "Invoke",
        {"name": "workspaces/default/functions/reflected", "payload": "eyJuYW1lIjogIngifQ=="},
    )

    assert services >= PUBLIC
    assert not [name for name in services if "internal" in name]
    assert not reflecting.knows("fnmesh.internal.registry.v1.RegistryInternalService")
    assert "reflected" in [function["displayName"] for function in listed["functions"]]
    assert answer["statusCode"] == 200


@pytest.mark.buf
def test_buf_curl(mesh: RunningMesh, make_source: MakeSource) -> None:
    mesh.cli("deploy", str(make_source("curled", **{"handler.py": HELLO})), "--target", "process")
    program = buf.find_buf()
    assert program is not None

    done = subprocess.run(
        [
            program, "curl", "--http2-prior-knowledge", "--protocol", "grpc",
            "-d", '{"parent": "workspaces/default"}',
            f"{mesh.url}/fnmesh.registry.v1.RegistryService/ListFunctions",
        ],
        capture_output=True, text=True, check=False, timeout=60, cwd=ROOT,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "curled" in [function["displayName"] for function in json.loads(done.stdout)["functions"]]


@pytest.mark.parametrize("token", ["", "guessed"])
def test_internal_services_cannot_be_reached(channel: grpc.Channel, token: str) -> None:
    stub = RegistryInternalServiceStub(channel)
    with pytest.raises(grpc.RpcError) as refused:
        stub.ListLiveArtifacts(
            internal_pb.ListLiveArtifactsRequest(),
            timeout=10,
            metadata=(("x-fnmesh-service-token", token),) if token else (),
        )
    assert refused.value.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND)


def test_transcoded_paths_cannot_be_reached(http: httpx.Client) -> None:
    for path in ("/.fnmesh/unary", "/.fnmesh/stream", "/fnmesh.internal.invoke.v1.HttpService/InvokeHttp"):
        assert http.post(path, content=b"{}").status_code in (404, 415, 501)


def test_a_web_page_cannot_make_control_calls(http: httpx.Client) -> None:
    path = "/fnmesh.registry.v1.RegistryService/ListFunctions"
    for lie in ({"origin": "http://evil.example"}, {"host": "evil.example"}):
        answer = http.post(path, headers={"content-type": "application/grpc", **lie}, content=b"\0\0\0\0\0")
        assert answer.headers["grpc-status"] == str(grpc.StatusCode.PERMISSION_DENIED.value[0])


@pytest.fixture(scope="module")
def locked_mesh() -> Iterator[tuple[RunningMesh, str]]:
    """A mesh with FNMESH_AUTH=keys on all addresses, and its first admin key."""
    running = RunningMesh(environ={"FNMESH_AUTH": "keys"}, listen="0.0.0.0:0")
    try:
        key = running.first_key()
        yield running.start(), key
        assert running.stop() == 0
    finally:
        running.remove()


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0"])
def test_open_door_without_keys_is_refused(listen: str) -> None:
    other = RunningMesh()
    try:
        up = ("up", "--data-dir", str(other.data_dir), "--listen", listen)
        refused = [
            other.cli(*up, check=False, **auth) for auth in ({}, {"FNMESH_AUTH": "off"}, {"FNMESH_AUTH": "keys"})
        ]
        away = {"FNMESH_AUTH": "keys", "FNMESH_DATABASE_URL": "postgresql://u:p@127.0.0.1:1/x"}
        without_database = other.cli(*up, check=False, **away)
        assert other.processes() == []
    finally:
        other.remove()

    for done in refused:
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert "fnmesh key create --offline --scope admin" in done.stderr
    assert (without_database.returncode, without_database.stderr.count("\n")) == (1, 1)
    assert "The database does not answer" in without_database.stderr
    assert "fnmesh key create" not in without_database.stderr


def test_keys_are_asked_for(locked_mesh: tuple[RunningMesh, str], make_source: MakeSource) -> None:
    mesh, admin = locked_mesh
    source = str(make_source("locked", **{"handler.py": HELLO}))

    nobody = mesh.cli("list", check=False)
    assert (nobody.returncode, nobody.stderr.count("\n")) == (1, 1)
    assert "FNMESH_API_KEY" in nobody.stderr
    with Mesh(mesh.server, api_key="fnm_wrong") as wrong, pytest.raises(Unauthenticated):
        wrong.list()

    mesh.cli("deploy", source, "--target", "process", "--access", "key", FNMESH_API_KEY=admin)
    url = f"{mesh.url}/api/locked"
    assert httpx.get(url, trust_env=False).status_code == 401
    assert httpx.get(url, trust_env=False, headers={"authorization": f"Bearer {admin}"}).status_code == 200
    with grpc.insecure_channel(mesh.server) as channel:
        assert ReflectingClient(channel).services() >= PUBLIC


def test_scopes_and_revocation(locked_mesh: tuple[RunningMesh, str], make_source: MakeSource) -> None:
    mesh, admin = locked_mesh
    source = str(make_source("scoped", **{"handler.py": HELLO}))
    mesh.cli("deploy", source, "--target", "process", "--access", "key", FNMESH_API_KEY=admin)
    made = mesh.cli_json("key", "create", "--scope", "invoke", "--name", "caller", FNMESH_API_KEY=admin)
    url, header = f"{mesh.url}/api/scoped", {"authorization": f"Bearer {made['secret']}"}

    assert httpx.get(url, trust_env=False, headers=header).status_code == 200
    with Mesh(mesh.server, api_key=made["secret"]) as caller:
        assert caller.invoke("scoped", {"name": "k"}).json() == {"hello": "k"}
        with pytest.raises(PermissionDenied):
            caller.delete("scoped")
        with pytest.raises(PermissionDenied):
            caller.keys()

    key_id = made["apiKey"]["name"].rpartition("/")[2]
    listed = mesh.cli("key", "list", FNMESH_API_KEY=admin).stdout
    assert key_id in listed
    assert made["secret"] not in listed
    mesh.cli("key", "create", "--scope", "invoke", "--name", "brief", "--expires", "1s", FNMESH_API_KEY=admin)
    eventually_sync(lambda: _state_of("brief", mesh, admin) == "expired", 15)
    assert _state_of("caller", mesh, admin) == "ok"

    mesh.cli("key", "revoke", key_id, FNMESH_API_KEY=admin)
    assert _state_of("caller", mesh, admin) == "revoked"
    eventually_sync(lambda: httpx.get(url, trust_env=False, headers=header).status_code == 401, 15)


def _state_of(key: str, mesh: RunningMesh, admin: str) -> str:
    lines = mesh.cli("key", "list", FNMESH_API_KEY=admin).stdout.splitlines()
    (line,) = [line for line in lines if line.split()[1] == key]
    return line.split()[4]


def test_saved_key_is_private_and_used(locked_mesh: tuple[RunningMesh, str]) -> None:
    mesh, admin = locked_mesh
    mesh.cli("key", "create", "--scope", "deploy", "--save", FNMESH_API_KEY=admin)
    file = mesh.data_dir / ".config/fnmesh/credentials"
    try:
        assert file.stat().st_mode & 0o777 == 0o600
        assert mesh.cli("list").returncode == 0
    finally:
        file.unlink()


def test_nothing_secret_is_in_a_log(locked_mesh: tuple[RunningMesh, str]) -> None:
    mesh, admin = locked_mesh
    mesh.cli("list", FNMESH_API_KEY=admin)
    logs = mesh.log_tails() + "".join(log.read_text() for log in (mesh.data_dir / "logs").iterdir())
    assert admin not in logs
