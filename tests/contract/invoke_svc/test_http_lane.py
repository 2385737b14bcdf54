"""HTTP requests through the lane: what the workload hears, and what the caller gets."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc
import pytest

from fnmesh.registry.v1 import function_pb2

OK = "HTTP/1.1 200 OK"


async def test_a_request_reaches_the_workload_as_it_came(mesh: Any, kit: Any) -> None:
    workload = await mesh.function(kit.always(kit.says(OK, "content-type: text/plain", body=b"hi")))
    answer = await mesh.http(
        "POST",
        "/api/hello/a%2Fb?x=1&x=2",
        b"\x00\xffdata",
        content_type="application/x-thing",
        headers=[
            ("x-one", "1"),
            ("cookie", "a=b"),
            ("cookie", "c=d"),
            ("user-agent", "test"),
            ("traceparent", f"00-{kit.TRACE}-b7ad6b7169203331-00"),
            ("x-fn-rh", "grpc-timeout=5%2Bx"),
            ("x-forwarded-for", "10.1.2.3"),
            ("authorization", "Basic abc"),
            ("te", "trailers"),
            ("x-fn-scheme", "https"),
            ("x-envoy-expected-rq-timeout-ms", "15000"),
        ],
    )
    assert (answer.status, answer.body, answer.content_type) == (200, b"hi", "text/plain")
    (heard,) = workload.heard
    assert (heard.method, heard.target, heard.body) == ("POST", "/api/hello/a%2Fb?x=1&x=2", b"\x00\xffdata")
    assert heard.header("host") == "example.com"
    assert heard.header("x-one") == "1"
    assert heard.header("cookie") == "a=b; c=d"
    assert heard.header("content-type") == "application/x-thing"
    assert heard.header("content-length") == "6"
    assert heard.header("traceparent") == f"00-{kit.TRACE}-b7ad6b7169203331-00"
    assert heard.header("grpc-timeout") == "5+x"
    assert heard.header("x-forwarded-for") == "10.1.2.3"
    assert heard.header("authorization") == "Basic abc"
    assert heard.header("x-fn-timeout-ms") == "5000"
    assert len(heard.header("x-fn-request-id")) == 30
    names = {name for name, _ in heard.headers}
    assert not names & {"te", "x-fn-scheme", "x-fnmesh-service-token", "x-envoy-expected-rq-timeout-ms"}


async def test_the_answer_reaches_the_caller_as_it_was_given(mesh: Any, kit: Any) -> None:
    raw = kit.says(
        "HTTP/1.1 418 Teapot",
        "Content-Type: application/grpc",
        "Set-Cookie: a=1; Path=/",
        "set-cookie: b=2",
        "x-percent: 100%",
        "x-fn-secret: no",
        "connection: x-hop, keep-alive",
        "x-hop: no",
        "keep-alive: timeout=5",
        body=b"short and stout",
    ).replace(b"x-percent", "x-ütf: ü\r\nx-percent".encode().replace("x-ü".encode(), b"x-u"))
    await mesh.function(kit.always(raw))
    answer = await mesh.http()
    assert (answer.status, answer.content_type, answer.body) == (418, "application/grpc", b"short and stout")
    assert answer.header("set-cookie") == b"a=1; Path=/|b=2"
    assert answer.header("x-percent") == b"100%"
    assert answer.header("x-utf") == "ü".encode()
    assert answer.header("content-length") == b"15"
    assert {name for name, _ in answer.headers} == {"set-cookie", "x-percent", "x-utf", "content-length"}


@pytest.mark.parametrize("streamed", [False, True])
async def test_connections_are_used_again(mesh: Any, kit: Any, streamed: bool) -> None:
    workload = await mesh.function(kit.always(kit.says(OK, body=b"x")))
    for _ in range(5):
        answer = await mesh.http("POST", body=[b"a", b"b"] if streamed else b"ab")
        assert answer.body == b"x"
    assert workload.connections == 1
    assert {heard.body for heard in workload.heard} == {b"ab"}


async def test_pieces_are_passed_on_as_they_come(mesh: Any, kit: Any) -> None:
    next_piece = asyncio.Event()

    async def script(heard: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for number in range(3):
            await next_piece.wait()
            next_piece.clear()
            writer.write(b"9\r\ndata: %d\n\n\r\n" % number)
        writer.write(b"0\r\n\r\n")

    await mesh.function(script)
    call = mesh.begin()
    answer = await kit.head(call)
    assert (answer.status, answer.content_type) == (200, "text/event-stream")
    for number in range(3):
        next_piece.set()
        assert await call.read() == b"\x12\x09data: %d\n\n" % number
    assert await call.read() in (b"", grpc.aio.EOF)


@pytest.mark.parametrize(
    ("runtime", "begins_with"),
    [(function_pb2.RUNTIME_IMAGE, 5), (function_pb2.RUNTIME_PYTHON, 70_000)],
    ids=["an image, at once", "a runtime, once it is more than is kept"],
)
async def test_a_body_goes_up_while_the_answer_comes_down(
    mesh: Any, kit: Any, runtime: function_pb2.Runtime, begins_with: int
) -> None:
    async def script(heard: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")

    workload = await mesh.function(script, runtime=runtime)
    workload.early = True
    stop = asyncio.Event()

    async def endless() -> Any:
        yield b"x" * begins_with
        await stop.wait()

    answer = await kit.finished(mesh.begin("POST", body=endless()))
    assert answer.body == b"hi"
    assert mesh.running.admission.inflight == 0
    stop.set()


async def test_large_bodies_both_ways(mesh: Any, kit: Any) -> None:
    async def script(heard: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(kit.says(OK, body=heard.body))

    await mesh.function(script)
    body = bytes(range(256)) * 4096
    answer = await mesh.http("PUT", body=[body] * 6)
    assert answer.body == body * 6
    assert max(len(message) for message in answer.messages) <= 1024 * 1024


@pytest.mark.parametrize(
    ("method", "raw", "status", "length"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n", 200, b"99"),
        ("HEAD", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", 200, None),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204, None),
        ("GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\netag: x\r\n\r\n", 304, None),
        ("GET", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n", 201, b"0"),
    ],
)
async def test_answers_without_a_body(
    mesh: Any, kit: Any, method: str, raw: bytes, status: int, length: bytes | None
) -> None:
    workload = await mesh.function(kit.always(raw))
    for _ in range(2):
        answer = await mesh.http(method)
        assert (answer.status, answer.body, answer.header("content-length")) == (status, b"", length)
    # A workload that announces a body where none belongs may send it yet.
    announced = method == "HEAD" or status == 304
    assert workload.connections == (2 if announced else 1)


async def test_an_answer_that_ends_with_the_connection(mesh: Any, kit: Any) -> None:
    async def script(heard: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nall of it")
        writer.close()

    await mesh.function(script)
    answer = await mesh.http()
    assert (answer.status, answer.body, answer.reset) == (200, b"all of it", False)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nGARBAGE\r\n",
    ],
)
async def test_after_the_head_a_failure_is_a_reset(mesh: Any, kit: Any, raw: bytes) -> None:
    async def script(heard: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        writer.close()

    await mesh.function(script)
    answer = await mesh.http()
    assert (answer.status, answer.body, answer.reset) == (200, b"half", True)


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 200 OK\r\nx: ", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 101 S\r\n\r\n"])
async def test_before_the_head_a_failure_is_a_502_and_never_repeated(mesh: Any, kit: Any, raw: bytes) -> None:
    async def script(heard: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        writer.close()

    workload = await mesh.function(script)
    answer = await mesh.http("POST", body=b"once", headers=[("traceparent", f"00-{kit.TRACE}-b7ad6b7169203331-00")])
    assert (answer.status, answer.content_type) == (502, "application/json")
    error = json.loads(answer.body)
    assert (error["code"], error["trace_id"]) == ("INTERNAL", kit.TRACE)
    assert error["reason"] in ("WORKLOAD_CLOSED", "ANSWER_MALFORMED")
    assert answer.header("content-length") == str(len(answer.body)).encode()
    assert len(workload.heard) == 1


@pytest.mark.parametrize("surplus", [b"x", b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"])
async def test_a_connection_with_surplus_bytes_is_not_used_again(mesh: Any, kit: Any, surplus: bytes) -> None:
    workload = await mesh.function(kit.always(kit.says(OK, body=b"good") + surplus))
    for _ in range(3):
        assert (await mesh.http()).body == b"good"
    assert workload.connections == 3


async def test_errors_of_routing_are_told_in_band(mesh: Any, kit: Any) -> None:
    await mesh.function(kit.always(kit.says(OK)), methods=["GET", "POST"])
    mesh.registry.put("fn-idle", revision=0)
    mesh.registry.put("fn-hello2", path="hello", methods=["PUT"], revision=0)
    await mesh.settled()

    async def told(*request: str) -> tuple[int, str]:
        answer = await mesh.http(*request)
        return answer.status, json.loads(answer.body)["reason"]

    assert await told("GET", "/api/nothing") == (404, "FUNCTION_NOT_FOUND")
    assert await told("GET", "/api//hello") == (404, "FUNCTION_NOT_FOUND")
    assert await told("GET", "/api/%ff") == (400, "PATH_MALFORMED")
    assert await told("PUT", "/api/hello") == (400, "NOT_DEPLOYED")
    not_deployed = await mesh.http("GET", "/api/idle")
    assert json.loads(not_deployed.body)["detail"] == "Function is not deployed"
    refused = await mesh.http("DELETE", "/api/hello")
    assert (refused.status, refused.header("allow")) == (405, b"GET, HEAD, POST, PUT")
    assert (await mesh.http("HEAD", "/api/nothing")).body == b""


async def test_only_the_service_token_opens_the_lane(mesh: Any, kit: Any) -> None:
    await mesh.function(kit.always(kit.says(OK)))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await mesh.http(token="wrong-wrong-wrong-wrong")
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    "pair", ["host=evil", "transfer-encoding=chunked", "content-length=3", "a b=c", "x=1%0d%0ay: 2"]
)
async def test_headers_cannot_be_smuggled(mesh: Any, kit: Any, pair: str) -> None:
    workload = await mesh.function(kit.always(kit.says(OK)))
    answer = await mesh.http(headers=[("x-fn-rh", pair)])
    assert (answer.status, workload.heard) == (400, [])


async def test_a_body_over_the_limit(tmp_run_dir: Any, kit: Any) -> None:
    async with kit.mesh_running(tmp_run_dir, invoke_max_body_bytes=1000) as mesh:
        await mesh.function(kit.always(kit.says(OK)))
        for body in (b"x" * 1001, [b"x" * 600, b"x" * 600]):
            answer = await mesh.http("POST", body=body)
            assert (answer.status, json.loads(answer.body)["reason"]) == (413, "BODY_TOO_LARGE")
        assert (await mesh.http("POST", body=[b"x" * 500, b"x" * 500])).status == 200
        assert mesh.running.admission.inflight == 0


async def test_functions_with_access_by_key(tmp_run_dir: Any, kit: Any, invoke_key: Any) -> None:
    async with kit.mesh_running(tmp_run_dir, auth="keys") as mesh:
        mesh.registry.keys["fnm_good"] = invoke_key
        mesh.registry.keys["fnm_other"] = type(invoke_key)(key_id="k2", scopes=[3], workspace="workspaces/ws-2")
        workload = await mesh.function(kit.always(kit.says(OK)), access=2)
        missing = await mesh.http()
        assert (missing.status, missing.header("www-authenticate")) == (401, b"Bearer")
        assert (await mesh.http(headers=[("authorization", "Bearer fnm_bad")])).status == 401
        assert (await mesh.http(headers=[("authorization", "Bearer fnm_other")])).status == 403
        assert (await mesh.http(headers=[("authorization", "Bearer fnm_good")])).status == 200
        (heard,) = workload.heard
        assert heard.header("authorization") is None, "the key is not for the function to see"
