"""Errors that Envoy makes itself, in the shape that all errors have."""

from __future__ import annotations

from pathlib import Path

import grpc
import grpc.aio
import pytest

from tests.support.door import Door, open_door
from tests.support.raw_http import parsed_error, raw_exchange

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("request_text", "status", "code", "reason"),
    [
        ("GARBAGE\r\n\r\n", 400, "INVALID_ARGUMENT", "BAD_REQUEST"),
        ("GET /api/x HTTP/1.1\r\n\r\n", 400, "INVALID_ARGUMENT", "BAD_REQUEST"),
        ("GET /api/x#frag HTTP/1.1\r\nhost: h\r\n\r\n", 400, "INVALID_ARGUMENT", "BAD_REQUEST"),
        (
            "POST /api/x HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "INVALID_ARGUMENT",
            "BAD_REQUEST",
        ),
        (
            "GET /api/x HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n",
            400,
            "INVALID_ARGUMENT",
            "BAD_REQUEST",
        ),
        ("GET /api/x HTTP/1.0\r\n\r\n", 426, "FAILED_PRECONDITION", "HTTP_VERSION"),
        (
            "GET /api/x HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            403,
            "PERMISSION_DENIED",
            "UPGRADE_REFUSED",
        ),
        (
            f"GET /api/x HTTP/1.1\r\nhost: h\r\nx-big: {'x' * 100_000}\r\n\r\n",
            431,
            "RESOURCE_EXHAUSTED",
            "HEADERS_TOO_LARGE",
        ),
        (
            "GET /nothing HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n",
            404,
            "NOT_FOUND",
            "ROUTE_NOT_FOUND",
        ),
        (
            "POST /.fnmesh/unary HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            404,
            "NOT_FOUND",
            "ROUTE_NOT_FOUND",
        ),
        ("CONNECT h:80 HTTP/1.1\r\nhost: h\r\n\r\n", 404, "NOT_FOUND", "ROUTE_NOT_FOUND"),
    ],
)
async def test_the_shape_of_an_error(door: Door, request_text: str, status: int, code: str, reason: str) -> None:
    got, headers, body = parsed_error(await raw_exchange(door, request_text))
    assert (got, body["code"], body["reason"]) == (status, code, reason)
    assert headers["content-type"] == "application/json"
    assert body["detail"]
    # What is refused before it is a request has no trace.
    assert body["trace_id"] == headers.get("x-trace-id")
    assert door.invoke.seen == []


@pytest.mark.parametrize("path", ["/api", "/nothing", "/fnmesh.internal.x/Y"])
async def test_an_error_says_its_trace(door: Door, path: str) -> None:
    async with door.client() as client:
        answer = await client.get(path)
    assert answer.status_code == 404
    assert answer.json()["trace_id"] == answer.headers["x-trace-id"]
    assert len(answer.json()["trace_id"]) == 32


async def test_a_service_that_is_not_there(tmp_run_dir: Path) -> None:
    async with open_door(tmp_run_dir, services=("registry", "build", "deploy"), gateway_hold_s=0.5) as door:
        async with door.client() as client:
            answer = await client.get("/api/hello")
            head = await client.head("/api/hello")
            health = await client.get("/health")
        assert (answer.status_code, head.status_code, head.content) == (503, 503, b"")
        assert answer.headers["retry-after"] == "1"
        assert answer.json() == {
            "detail": "A service of the mesh cannot be reached; try again.",
            "code": "UNAVAILABLE",
            "reason": "SERVICE_UNAVAILABLE",
            "trace_id": answer.headers["x-trace-id"],
        }
        assert (health.status_code, health.json()["status"], health.json()["missing"]) == (
            503,
            "degraded",
            ["invoke"],
        )
        async with grpc.aio.insecure_channel(door.target) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary("/fnmesh.invoke.v1.InvokeService/Invoke")(b"")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
