"""The lane through a real Envoy: HTTP in, HttpService calls behind, HTTP out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import httpx
import pytest

from tests.support.door import RESET, TOKEN, Answer, Door
from tests.support.eventually import eventually
from tests.support.raw_http import raw_exchange

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "BREW"])
async def test_any_method_reaches_the_function(door: Door, method: str) -> None:
    async with door.client() as client:
        answer = await client.request(method, "/api/hello")
    assert (answer.status_code, answer.text) == (200, "ok")
    assert [seen.method for seen in door.invoke.seen] == [method]


@pytest.mark.parametrize(
    "target",
    [
        "/api/hello",
        "/api/hello/",
        "/api//hello//",
        "/api/hello?path=evil&x-fn-path=evil",
        "/api/a%2Fb%2f..%2f",
        "/api/%ff%fe?q=%ff",
        "/api/a/../b/./c",
        "/api/?",
        "/api/a;b=c/d|e?x=[]{}",
        "/api/.fnmesh/unary",
    ],
)
async def test_the_path_arrives_as_it_was_sent(door: Door, target: str) -> None:
    answer = await raw_exchange(door, f"GET {target} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert [seen.path for seen in door.invoke.seen] == [target]


async def test_what_the_lane_tells_invoke_svc(door: Door) -> None:
    async with door.client() as client:
        await client.get("/api/hello")
    (seen,) = door.invoke.seen
    assert seen.lane == "unary"
    assert seen.one("x-fn-host") == door.target
    assert seen.one("x-fn-scheme") == "http"
    assert seen.one("x-fnmesh-service-token") == TOKEN
    assert seen.one("x-forwarded-for") == "127.0.0.1"
    assert len(seen.all("traceparent")) == 1
    assert not [key for key, _ in seen.metadata if key.startswith("x-envoy-")]


async def test_internal_headers_of_a_client_are_dropped(door: Door) -> None:
    forged = {
        "x-fn-method": "EVIL",
        "x-fn-path": "/api/evil",
        "x-fn-host": "evil",
        "x-fn-scheme": "evil",
        "x-fn-ct": "evil",
        "x-fn-rh": "authorization=evil",
        "x-fn-trace": "evil",
        "x-fn-anything": "evil",
        "x-fnmesh-service-token": "evil",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-original-path": "/evil",
        "x-envoy-retry-on": "5xx",
        "x-envoy-decorator-operation": "evil",
    }
    async with door.client() as client:
        answer = await client.get("/api/hello", headers=forged)
    assert answer.status_code == 200
    (seen,) = door.invoke.seen
    assert "evil" not in str(seen.metadata).lower()
    assert not [key for key, _ in seen.metadata if key.startswith("x-envoy-")]


async def test_headers_arrive_repeated_and_unharmed(door: Door) -> None:
    headers = [
        (b"x-a", b"1"),
        (b"X-A", b"2"),
        (b"x_under", b"score"),
        (b"x-empty", b""),
        (b"cookie", b"a=1; b=2"),
        (b"authorization", b"Bearer of-a-function"),
        (b"x-request-id", b"mine"),
        (b"content-type", b"application/x-thing"),
    ]
    async with door.client() as client:
        await client.post("/api/hello", headers=headers, content=b"{}")
    (seen,) = door.invoke.seen
    assert seen.all("x-a") == ["1", "2"]
    assert seen.one("x_under") == "score"
    assert seen.one("x-empty") == ""
    assert "; ".join(seen.all("cookie")) == "a=1; b=2"
    assert seen.one("authorization") == "Bearer of-a-function"
    assert seen.one("x-request-id") == "mine"
    assert seen.content_type == "application/x-thing"
    assert seen.body == b"{}"


async def test_headers_foreign_to_grpc_are_moved_aside(door: Door) -> None:
    headers = [
        (b"foo-bin", b"%%%"),
        (b"grpc-timeout", b"1n"),
        (b"grpc-encoding", b"gzip"),
        (b"x-umlaut", "hé".encode()),
        (b"x-tab", b"a\tb"),
        (b"!odd#", b"x=y"),
    ]
    async with door.client() as client:
        answer = await client.get("/api/hello", headers=headers)
    assert answer.status_code == 200
    (seen,) = door.invoke.seen
    assert sorted(seen.all("x-fn-rh")) == [
        "!odd#=x=y",
        "foo-bin=%25%25%25",
        "grpc-encoding=gzip",
        "grpc-timeout=1n",
        "x-tab=a%09b",
        "x-umlaut=h%C3%A9",
    ]


@pytest.mark.parametrize("kind", ["application/grpc", "application/grpc+proto", "Application/gRPC-Web"])
async def test_a_request_that_calls_itself_grpc_is_a_request_like_any(door: Door, kind: str) -> None:
    async with door.client() as client:
        answer = await client.post("/api/hello", headers={"content-type": kind}, content=b"\x00\x01")
    assert (answer.status_code, answer.text) == (200, "ok")
    (seen,) = door.invoke.seen
    assert (seen.one("x-fn-ct"), seen.body) == (kind, b"\x00\x01")


async def test_hop_by_hop_headers_stay_behind(door: Door) -> None:
    await raw_exchange(
        door,
        "GET /api/x HTTP/1.1\r\nhost: h\r\nconnection: close, keep-alive\r\nkeep-alive: 5\r\nte: trailers\r\n"
        "proxy-connection: close\r\ntrailer: x\r\n\r\n",
    )
    (seen,) = door.invoke.seen
    names = {key for key, _ in seen.metadata}
    assert not names & {"connection", "keep-alive", "te", "proxy-connection", "trailer", "transfer-encoding"}


@pytest.mark.parametrize(
    ("size", "lane"), [(0, "unary"), (1, "unary"), (65_536, "unary"), (65_537, "stream"), (10_000_000, "stream")]
)
async def test_bodies_arrive_whole(door: Door, size: int, lane: str) -> None:
    body = bytes(range(256)) * (size // 256) + b"\xfe" * (size % 256)
    async with door.client() as client:
        answer = await client.post("/api/hello", content=body)
    assert answer.status_code == 200
    (seen,) = door.invoke.seen
    assert seen.body == body
    assert seen.lane == lane


async def test_a_body_of_unknown_length_is_streamed(door: Door) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b"x" * 100_000

    async with door.client() as client:
        await client.request("GET", "/api/hello", content=pieces())
    (seen,) = door.invoke.seen
    assert (seen.lane, len(seen.body)) == ("stream", 3_000_000)


async def test_ten_megabytes_come_back(door: Door) -> None:
    door.invoke.respond = lambda seen: Answer(
        content_type="application/octet-stream",
        chunks=[seen.body[at : at + 65_536] for at in range(0, len(seen.body), 65_536)],
    )
    body = bytes(range(250)) * 40_000
    async with door.client() as client:
        answer = await client.post("/api/hello", content=body)
    assert answer.content == body


async def test_an_answer_reaches_the_client_unchanged(door: Door) -> None:
    headers = [
        ("set-cookie", "a=1; Path=/; HttpOnly"),
        ("set-cookie", "b=2"),
        ("x-umlaut", "hé"),
        ("x-percent", "100%"),
        ("server", "mine"),
        ("x-trace-id", "forged"),
        ("content-length", "3"),
    ]
    door.invoke.respond = lambda seen: Answer(
        status=418, content_type="text/x-tea; charset=utf-8", headers=headers, chunks=(b"\x00\xff\x01",)
    )
    async with door.client() as client:
        answer = await client.get("/api/tea")
    assert answer.status_code == 418
    assert answer.content == b"\x00\xff\x01"
    raw = [(name.lower(), value) for name, value in answer.headers.raw]
    assert (b"content-type", b"text/x-tea; charset=utf-8") in raw
    assert [value for name, value in raw if name == b"set-cookie"] == [b"a=1; Path=/; HttpOnly", b"b=2"]
    assert (b"x-umlaut", "hé".encode()) in raw
    assert (b"x-percent", b"100%") in raw
    assert (b"server", b"mine") in raw
    assert (b"content-length", b"3") in raw
    assert {name for name, _ in raw if name.startswith((b"x-fn", b"grpc", b"x-envoy"))} == set()
    assert len(answer.headers["x-trace-id"]) == 32


async def test_no_content_type_stays_none(door: Door) -> None:
    door.invoke.respond = lambda seen: Answer(content_type=None)
    async with door.client() as client:
        answer = await client.get("/api/hello")
    assert "content-type" not in answer.headers
    assert answer.text == "ok"


@pytest.mark.parametrize("status", [204, 304])
async def test_statuses_without_a_body_have_none(door: Door, status: int) -> None:
    door.invoke.respond = lambda seen: Answer(
        status=status, content_type=None, headers=[("etag", '"x"')], chunks=(b"wrong",)
    )
    async with door.client() as client:
        for _ in range(2):
            answer = await client.get("/api/hello")
            assert (answer.status_code, answer.content, answer.headers["etag"]) == (status, b"", '"x"')
            assert "content-type" not in answer.headers


@pytest.mark.parametrize("chunks", [(), (b"a body that must not be sent",)])
async def test_head_has_headers_only(door: Door, chunks: tuple[bytes, ...]) -> None:
    door.invoke.respond = lambda seen: Answer(headers=[("content-length", "28")], chunks=chunks)
    async with door.client() as client:
        for _ in range(3):
            answer = await client.head("/api/hello")
            assert (answer.status_code, answer.headers["content-length"]) == (200, "28")
    assert {seen.method for seen in door.invoke.seen} == {"HEAD"}


async def test_events_arrive_as_they_are_made(door: Door) -> None:
    go = asyncio.Semaphore(0)

    async def wait() -> None:
        await go.acquire()

    events = [f"data: {number}\n\n".encode() for number in range(4)]
    door.invoke.respond = lambda seen: Answer(content_type="text/event-stream", chunks=events, between=wait)
    async with door.client() as client, client.stream("GET", "/api/events") as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        chunks = answer.aiter_raw()
        for event in events:
            assert await anext(chunks) == event
            go.release()


async def test_an_empty_first_message_sends_the_head(door: Door) -> None:
    go = asyncio.Event()
    door.invoke.respond = lambda seen: Answer(status=202, chunks=(b"", b"later"), between=go.wait)
    async with door.client() as client, client.stream("GET", "/api/slow") as answer:
        assert answer.status_code == 202
        go.set()
        assert await answer.aread() == b"later"


async def test_a_reset_in_the_middle_is_not_a_clean_end(door: Door) -> None:
    door.invoke.respond = lambda seen: Answer(chunks=(b"half", RESET))
    async with door.client() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/api/hello")


async def test_a_client_that_goes_away_cancels_the_call(door: Door) -> None:
    forever = asyncio.Event()
    door.invoke.respond = lambda seen: Answer(chunks=(b"a", b"b"), between=forever.wait)
    async with door.client() as client, client.stream("GET", "/api/hello") as answer:
        await anext(answer.aiter_raw())
    await eventually(lambda: door.invoke.seen[0].cancelled)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (grpc.StatusCode.UNAVAILABLE, 503),
        (grpc.StatusCode.UNAUTHENTICATED, 401),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
        (grpc.StatusCode.INTERNAL, 500),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 504),
    ],
)
async def test_a_failed_call_has_the_shape_of_all_errors(door: Door, code: grpc.StatusCode, status: int) -> None:
    door.invoke.respond = lambda seen: Answer(error=(code, 'it "broke" \\ é'))
    async with door.client() as client:
        answer = await client.get("/api/hello")
        head = await client.head("/api/hello")
        again = await client.get("/api/hello")
    assert answer.status_code == head.status_code == again.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "detail": 'it "broke" \\ é',
        "code": code.name,
        "reason": "INVOKE_FAILED",
        "trace_id": answer.headers["x-trace-id"],
    }
    assert answer.headers.get("retry-after") == ("1" if status == 503 else None)


async def test_a_call_that_a_stopping_service_gives_up_is_503(door: Door) -> None:
    door.invoke.respond = lambda seen: Answer(error=(grpc.StatusCode.CANCELLED, "CANCELLED"))
    async with door.client() as client:
        answer, head = await client.get("/api/hello"), await client.head("/api/hello")
    assert (answer.status_code, head.status_code, answer.headers["retry-after"]) == (503, 503, "1")
    told = {"code": "UNAVAILABLE", "reason": "SERVICE_UNAVAILABLE", "trace_id": answer.headers["x-trace-id"]}
    assert told.items() <= answer.json().items()


async def test_big_headers_pass_up_to_the_limit(door: Door) -> None:
    async with door.client() as client:
        answer = await client.get("/api/hello", headers={"x-big": "x" * 60_000})
    assert answer.status_code == 200
    assert len(door.invoke.seen[0].one("x-big")) == 60_000


async def test_http2_is_a_request_like_any(door: Door) -> None:
    door.invoke.respond = lambda seen: Answer(headers=[("set-cookie", "a=1"), ("set-cookie", "b=2")])
    async with door.client(http1=False, http2=True) as client:
        answer = await client.get("/api/hello?a=b", headers={"x-fn-method": "EVIL"})
        head = await client.head("/api/hello")
        posted = await client.post("/api/hello", content=b"body", headers={"content-type": "application/grpc"})
    assert (answer.http_version, answer.text) == ("HTTP/2", "ok")
    assert (head.status_code, posted.status_code) == (200, 200)
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert [(seen.method, seen.path, seen.lane) for seen in door.invoke.seen] == [
        ("GET", "/api/hello?a=b", "unary"),
        ("HEAD", "/api/hello", "unary"),
        ("POST", "/api/hello", "unary"),
    ]
    assert door.invoke.seen[2].body == b"body"
