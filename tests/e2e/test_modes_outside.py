"""What somebody outside may not do: reach internal services, speak as the mesh, call it from a web page."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import grpc
import httpx
import pytest

from fnmesh.internal.deploy.v1 import endpoint_service_pb2_grpc as deploy_grpc
from fnmesh.internal.gateway.v1 import membership_service_pb2_grpc as gateway_grpc
from fnmesh.internal.registry.v1 import registry_internal_service_pb2_grpc as registry_grpc
from tests.e2e.conftest import MakeSource
from tests.support.running_mesh import RunningMesh

ECHO = """
    def handler(event):
        return {"method": event["requestContext"]["http"]["method"], "path": event["rawPath"],
                "headers": event["headers"]}
"""
LIST = "/fnmesh.registry.v1.RegistryService/ListFunctions"
INTERNAL = [
    "/fnmesh.internal.registry.v1.RegistryInternalService/VerifyApiKey",
    "/fnmesh.internal.deploy.v1.EndpointService/WatchEndpoints",
    "/fnmesh.internal.gateway.v1.MembershipService/Join",
    "/fnmesh.internal.invoke.v1.HttpService/InvokeHttp",
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
]
MESSAGE = b"\0\0\0\0\x14\n\x12workspaces/default"
PERMISSION_DENIED = "7"
TOKEN = "x-fnmesh-service-token"


def _token(mesh: RunningMesh) -> str:
    """The real one, as no outsider has it."""
    raw = Path(f"/proc/{mesh.service_pid('registry')}/environ").read_bytes().decode()
    run_dir = dict(word.split("=", 1) for word in raw.split("\0") if "=" in word)["FNMESH_RUN_DIR"]
    return (Path(run_dir) / "token").read_text().strip()


def _raw(mesh: RunningMesh, request: str) -> bytes:
    """One HTTP/1.1 exchange, byte for byte, until the other side closes."""
    host, port = mesh.server.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request.encode())
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def _unary(channel: grpc.Channel, method: str) -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
    return channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)


def test_internal_names_are_those_of_the_api() -> None:
    for stub in (registry_grpc.RegistryInternalServiceStub, deploy_grpc.EndpointServiceStub,
                 gateway_grpc.MembershipServiceStub):  # fmt: skip
        assert any(stub.__name__.removesuffix("Stub") in method for method in INTERNAL)


@pytest.mark.parametrize("method", INTERNAL)
@pytest.mark.parametrize("real_token", [False, True])
def test_internal_methods_have_no_route(mesh: RunningMesh, method: str, real_token: bool) -> None:
    metadata = ((TOKEN, _token(mesh)),) if real_token else ()
    with grpc.insecure_channel(mesh.server) as channel, pytest.raises(grpc.RpcError) as refused:
        _unary(channel, method)(b"", timeout=10, metadata=metadata)
    assert refused.value.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND)


@pytest.mark.parametrize(
    "path",
    [
        "/.fnmesh/unary", "/.fnmesh/stream", "/api/../.fnmesh/unary", "/api/%2e%2e/.fnmesh/unary", "//.fnmesh/unary",
        "/api/..%2f.fnmesh/unary", "/fnmesh.internal.invoke.v1.HttpService/InvokeHttp",
        "/api/../fnmesh.internal.registry.v1.RegistryInternalService/VerifyApiKey", "/ready", "/stats", "/config_dump",
        "/api\\..\\.fnmesh\\unary",
    ],
)  # fmt: skip
def test_odd_paths_lead_nowhere(mesh: RunningMesh, path: str) -> None:
    answer = _raw(
        mesh, f"POST {path} HTTP/1.1\r\nhost: {mesh.server}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )
    assert answer.split(b" ")[1] in (b"400", b"404"), answer[:300]


def test_service_token_from_outside_is_not_even_looked_at(mesh: RunningMesh, http: httpx.Client) -> None:
    """A wrong one would be refused, and the right one make its sender the mesh: both are removed."""
    with grpc.insecure_channel(mesh.server) as channel:
        for token in ("guessed", _token(mesh)):
            _unary(channel, LIST)(b"\n\x12workspaces/default", timeout=10, metadata=((TOKEN, token),))
    for token in ("guessed", _token(mesh)):
        assert http.get("/api/nowhere", headers={TOKEN: token}).status_code == 404


def test_headers_of_the_mesh_cannot_be_smuggled(mesh: RunningMesh, http: httpx.Client, make_source: MakeSource) -> None:
    source = str(make_source("smuggled", **{"handler.py": ECHO}))
    mesh.cli("deploy", source, "--target", "process", "--method", "POST")
    mine = {
        "x-fn-method": "DELETE", "x-fn-path": "/api/other", "x-fn-host": "evil.example", "X-Fn-Scheme": "https",
        "x-fn-ct": "text/evil", "x-fn-rh": "x-added=1", "x-fn-timeout-ms": "1", "x-fn-request-id": "mine",
        "x-fn-status": "204", "x-fn-h": "set-cookie=a", TOKEN: _token(mesh), "x-fnmesh-anything": "1",
        "x-envoy-upstream-rq-timeout-ms": "1", "x-envoy-original-path": "/api/other",
        "x-envoy-retry-on": "5xx", "x-harmless": "kept",
    }  # fmt: skip

    for body in (b"{}", b"x" * 100_000):
        answer = http.post("/api/smuggled", headers=mine, content=body)
        seen = answer.json()
        assert answer.status_code == 200, answer.text
        assert (seen["method"], seen["path"]) == ("POST", "/api/smuggled")
        assert seen["headers"]["host"] == mesh.server
        assert seen["headers"]["x-harmless"] == "kept"
        assert not [name for name in seen["headers"] if name.startswith(("x-fn", "x-envoy", "x-added"))]
        assert _token(mesh) not in json.dumps(seen)
        assert not [name for name in answer.headers if name.startswith(("x-fn", "x-envoy"))]


def test_method_cannot_be_overridden(mesh: RunningMesh, http: httpx.Client, make_source: MakeSource) -> None:
    mesh.cli("deploy", str(make_source("post-only", **{"handler.py": ECHO})), "--target", "process", "--method", "POST")
    for name in ("x-fn-method", "x-http-method-override"):
        assert http.get("/api/post-only", headers={name: "POST"}).status_code == 405


@pytest.mark.parametrize("kind", ["application/grpc", "application/grpc+proto"])
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "http://localhost", "file://"])
def test_web_page_cannot_make_control_calls(http: httpx.Client, kind: str, origin: str) -> None:
    answer = http.post(LIST, headers={"content-type": kind, "origin": origin}, content=MESSAGE)
    assert answer.headers["grpc-status"] == PERMISSION_DENIED
    assert "FNMESH_GATEWAY_ALLOWED_ORIGINS" in answer.headers["grpc-message"]
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert answer.content == b""


@pytest.mark.parametrize(
    "kind", ["application/grpc-web", "application/grpc-web+proto", "text/plain", "application/json"]
)
def test_what_a_page_may_send_unasked_is_no_control_call(http: httpx.Client, kind: str) -> None:
    """These are the kinds a browser sends without asking first (and gRPC-Web): none of them has a route."""
    answer = http.post(LIST, headers={"content-type": kind, "origin": "http://evil.example"}, content=MESSAGE)
    assert answer.status_code in (403, 404)
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_preflight_of_a_control_call_allows_nothing(http: httpx.Client) -> None:
    asked = {"origin": "http://evil.example", "access-control-request-method": "POST"}
    answer = http.options(LIST, headers=asked)
    assert answer.status_code in (403, 404, 405)
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "169.254.1.1"])
def test_rebound_name_cannot_make_control_calls(http: httpx.Client, host: str) -> None:
    answer = http.post(LIST, headers={"host": host, "content-type": "application/grpc"}, content=MESSAGE)
    assert answer.headers["grpc-status"] == PERMISSION_DENIED
    assert "FNMESH_GATEWAY_ALLOWED_HOSTS" in answer.headers["grpc-message"]
    for path in ("/", "/health", "/docs", "/openapi.json"):
        assert http.get(path, headers={"host": host}).status_code == 403


def test_this_machine_by_its_names(mesh: RunningMesh, http: httpx.Client) -> None:
    for host in ("localhost", "LOCALHOST:1234", "127.0.0.1", "[::1]:80", "fnmesh.localhost"):
        headers = {"host": host, "content-type": "application/grpc", "te": "trailers"}
        assert http.post(LIST, headers=headers, content=MESSAGE).headers.get("grpc-status", "0") == "0", host
    own = {"origin": mesh.url, "content-type": "application/grpc", "te": "trailers"}
    assert http.post(LIST, headers=own, content=MESSAGE).headers.get("grpc-status", "0") == "0"


def test_functions_are_for_pages(http: httpx.Client, mesh: RunningMesh, make_source: MakeSource) -> None:
    mesh.cli("deploy", str(make_source("for-pages", **{"handler.py": ECHO})), "--target", "process")
    answer = http.post("/api/for-pages", headers={"origin": "http://page.example", "host": "fn.example"})
    assert answer.status_code == 200
    assert answer.json()["headers"]["origin"] == "http://page.example"
