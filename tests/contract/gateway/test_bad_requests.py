"""Requests that are not what they should be, byte for byte through a real Envoy: what arrives, and what is refused.

Of a request that is refused nothing reaches invoke_svc, and nothing of what follows it on the connection.
"""

from __future__ import annotations

import pytest

from tests.support.door import TOKEN, Door
from tests.support.raw_http import parsed_error, raw_client, raw_exchange

pytestmark = pytest.mark.asyncio(loop_scope="module")

SMUGGLED = "GET /api/smuggled HTTP/1.1\r\nhost: h\r\n\r\n"
CHUNKED = "transfer-encoding: chunked"


def post(*lines: str, body: str = "") -> str:
    return "\r\n".join(("POST /api/x HTTP/1.1", "host: h", *lines, "", "")) + body


REFUSED = {
    "length and chunks": post("content-length: 3", CHUNKED, body="0\r\n\r\n"),
    "chunks and length": post(CHUNKED, "content-length: 3", body="0\r\n\r\n"),
    "two lengths": post("content-length: 3", "content-length: 40", body="abc"),
    "the same length twice": post("content-length: 3", "content-length: 3", body="abc"),
    "a list of lengths": post("content-length: 3, 3", body="abc"),
    "a length with a sign": post("content-length: +3", body="abc"),
    "a negative length": post("content-length: -3", body="abc"),
    "a length in hex": post("content-length: 0x3", body="abc"),
    "a length beyond 64 bits": post("content-length: 99999999999999999999999", body="abc"),
    "an empty length": post("content-length: ", body="abc"),
    "a space before the colon of a length": post("content-length : 3", body="abc"),
    "a space before the colon of an encoding": post("transfer-encoding : chunked", body="0\r\n\r\n"),
    "a vertical tab before an encoding": post("transfer-encoding: \x0bchunked", body="0\r\n\r\n"),
    "a NUL in a header": post("x-a: 1\0002"),
    "a first header that is folded": "GET /api/x HTTP/1.1\r\n host: h\r\n\r\n",
    "a header name with a space": post("x a: 1"),
    "no name": post(": 1"),
    "no colon": post("x-a"),
    "a host with a path": "GET /api/x HTTP/1.1\r\nhost: h/@evil\r\n\r\n",
    "two hosts": "GET /api/x HTTP/1.1\r\nhost: h\r\nhost: evil\r\n\r\n",
    "hosts in a list": "GET /api/x HTTP/1.1\r\nhost: a,b\r\n\r\n",
    "a connection that takes away headers": post("connection: x-forwarded-for, cookie", "cookie: a=b"),
    "raw bytes beyond ASCII in the path": "GET /api/\xff HTTP/1.1\r\nhost: h\r\n\r\n",
    "a tab in the path": "GET /api/a\tb HTTP/1.1\r\nhost: h\r\n\r\n",
    "a NUL in the path": "GET /api/a\0b HTTP/1.1\r\nhost: h\r\n\r\n",
    "a space in the path": "GET /api/a b HTTP/1.1\r\nhost: h\r\n\r\n",
    "a fragment": "GET /api/a#b HTTP/1.1\r\nhost: h\r\n\r\n",
    "a TLS greeting": "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n",
}


@pytest.mark.parametrize("request_text", REFUSED.values(), ids=REFUSED)
async def test_what_could_be_read_in_two_ways_is_refused(door: Door, request_text: str) -> None:
    async with raw_client(door) as client:
        client.send((request_text + SMUGGLED).encode("latin-1"))
        answers = await client.last_answer()
    status, headers, error = parsed_error(answers)
    assert (status, error["code"], error["reason"]) == (400, "INVALID_ARGUMENT", "BAD_REQUEST")
    assert (headers["content-type"], error["detail"]) == ("application/json", "The request is not valid HTTP.")
    assert door.invoke.seen == []


@pytest.mark.parametrize("encoding", ["xchunked", "gzip, chunked", "chunked, chunked", "identity", "chunked\r\n\tx"])
async def test_only_one_transfer_encoding_is_understood(door: Door, encoding: str) -> None:
    async with raw_client(door) as client:
        client.send(post(f"transfer-encoding: {encoding}", body="0\r\n\r\n") + SMUGGLED)
        status, _, error = parsed_error(await client.last_answer())
    assert (status, error["code"], error["reason"]) == (501, "UNIMPLEMENTED", "NOT_IMPLEMENTED")
    assert door.invoke.seen == []


@pytest.mark.parametrize(
    ("request_text", "name", "value"),
    [
        (post("x-a: 1\r\n 2"), "x-a", "1 2"),
        (post("x-a:\r\n\t 2"), "x-a", "2"),
        ("GET /api/x HTTP/1.1\nhost: h\nx-a: 1\n\n", "x-a", "1"),
        (post("x-a: 1\r2"), "x-a", "12"),
    ],
    ids=["folded", "folded at once", "lines that end in LF", "a lone CR"],
)
async def test_old_shapes_of_a_header_arrive_as_one_line(door: Door, request_text: str, name: str, value: str) -> None:
    async with raw_client(door) as client:
        client.send(request_text.replace("POST", "GET"))
        assert (await client.answer()).startswith(b"HTTP/1.1 200 OK\r\n")
    (seen,) = door.invoke.seen
    assert seen.one(name) == value


async def test_a_folded_encoding_frames_the_body(door: Door) -> None:
    async with raw_client(door) as client:
        client.send(post("transfer-encoding:\r\n chunked", body="3\r\nabc\r\n0\r\n\r\n"))
        client.send("GET /api/next HTTP/1.1\r\nhost: h\r\n\r\n")
        assert b"\r\nok\r\n" in await client.answer()
        assert b"\r\nok\r\n" in await client.answer()
    assert [(seen.path, seen.body) for seen in door.invoke.seen] == [("/api/x", b"abc"), ("/api/next", b"")]


async def test_trailers_are_no_headers(door: Door) -> None:
    forged = "x-fn-path: /api/evil\r\nx-fnmesh-service-token: evil\r\ncontent-length: 9\r\nauthorization: evil\r\n"
    async with raw_client(door) as client:
        client.send(post(CHUNKED, body=f"3\r\nabc\r\n0\r\n{forged}\r\n"))
        assert b"\r\nok\r\n" in await client.answer()
    (seen,) = door.invoke.seen
    assert (seen.path, seen.body, seen.one("x-fnmesh-service-token")) == ("/api/x", b"abc", TOKEN)
    assert "evil" not in str(seen.metadata)


async def test_pipelined_requests_are_answered_in_their_order(door: Door) -> None:
    async with raw_client(door) as client:
        client.send(
            "GET /api/a HTTP/1.1\r\nhost: h\r\n\r\nHEAD /api/b HTTP/1.1\r\nhost: h\r\n\r\n"
            "POST /api/c HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabcGET /api/d HTTP/1.1\r\nhost: h\r\n\r\n"
        )
        for path in "abcd":
            answer = await client.answer(to_head=path == "b")
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert answer.endswith(b"\r\n\r\n" if path == "b" else b"\r\n2\r\nok\r\n0\r\n\r\n")
    assert [seen.path for seen in door.invoke.seen] == ["/api/a", "/api/b", "/api/c", "/api/d"]


@pytest.mark.parametrize(
    "name",
    [
        "X-FN-Path", "x-fn-length", "x-fn-chunked", "x-fn-client-request-id", "X-Fnmesh-Service-Token",
        "x-envoy-max-retries", "x-envoy-force-trace", "x-envoy-ip-tags", "x-fn-timeout-ms", "x-fn-not-started",
    ],
)  # fmt: skip
async def test_internal_headers_are_not_for_clients(door: Door, name: str) -> None:
    async with raw_client(door) as client:
        client.send(f"GET /api/x HTTP/1.1\r\nhost: h\r\n{name}: evil\r\n{name.title()}: evil\r\n\r\n")
        assert (await client.answer()).startswith(b"HTTP/1.1 200 OK\r\n")
    (seen,) = door.invoke.seen
    assert "evil" not in str(seen.metadata)


@pytest.mark.parametrize(
    "target",
    [
        "/api/../health", "/api/%2e%2e/health", "/api/..%2fhealth", "/api/a%00b", "/api/%ff", "/api//x//",
        "/api/x?path=/api/evil&x-fn-path=evil", "/api/%2561", "/api/x?%00",
    ],
)  # fmt: skip
async def test_a_target_is_passed_on_as_it_was_sent(door: Door, target: str) -> None:
    answer = await raw_exchange(door, f"GET {target} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert [seen.path for seen in door.invoke.seen] == [target]


@pytest.mark.parametrize("target", ["//api/x", "/%61pi/x", "/API/x", "/./api/x", "/x/../api/x", "/api\\x", "/api;/x"])
async def test_another_spelling_of_api_is_not_the_lane(door: Door, target: str) -> None:
    answer = await raw_exchange(door, f"GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
    status, headers, error = parsed_error(answer)
    assert (status, error["reason"], error["trace_id"]) == (404, "ROUTE_NOT_FOUND", headers["x-trace-id"])
    assert door.invoke.seen == []


async def test_an_absolute_target_names_the_host(door: Door) -> None:
    answer = await raw_exchange(door, "GET http://a.example/api/x HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    (seen,) = door.invoke.seen
    assert (seen.path, seen.one("x-fn-host")) == ("/api/x", "a.example")
    refused = await raw_exchange(
        door, "GET http://evil.example/health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    )
    status, _, error = parsed_error(refused)
    assert (status, error["reason"]) == (403, "HOST_NOT_ALLOWED")


@pytest.mark.parametrize(
    "head",
    [
        "x-a: " + "x" * 100_000,
        "\r\n".join(f"x-{number}: 1" for number in range(300)),
        "x-a: " + "é" * 60_000,
    ],
    ids=["one", "many", "bytes"],
)
async def test_headers_over_the_limit(door: Door, head: str) -> None:
    status, headers, error = parsed_error(await raw_exchange(door, f"GET /api/x HTTP/1.1\r\nhost: h\r\n{head}\r\n\r\n"))
    assert (status, error["reason"]) == (431, "HEADERS_TOO_LARGE")
    assert headers["connection"] == "close"
    assert door.invoke.seen == []


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1.nip.io", "localhost.", "0x7f.1", "2130706433", "127.1", "[::ffff:127.0.0.1]", "0.0.0.0", "evil:80:80",
     "localhost:80.evil.example", "a.b.localhost.evil", "127.0.0.1:8080#evil"],
)  # fmt: skip
async def test_a_rebound_name_is_not_this_machine(door: Door, host: str) -> None:
    answer = await raw_exchange(door, f"GET /health HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")
    status, _, error = parsed_error(answer)
    assert (status, error["reason"]) in ((403, "HOST_NOT_ALLOWED"), (400, "BAD_REQUEST"))


@pytest.mark.parametrize(
    "path",
    ["/fnmesh.internal.invoke.v1.HttpService/InvokeHttp", "/api/../fnmesh.internal.invoke.v1.HttpService/InvokeHttp",
     "/fnmesh.registry.v1.RegistryService/../../fnmesh.internal.registry.v1.RegistryInternalService/GetWorkload"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["application/grpc", "application/json"])
async def test_internal_calls_are_not_reached_by_any_path(door: Door, path: str, kind: str) -> None:
    request = (
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\nx-fnmesh-service-token: {TOKEN}\r\n"
        "content-length: 5\r\nconnection: close\r\n\r\n\0\0\0\0\0"
    )
    await raw_exchange(door, request)
    # At most it is a request for a function, or for a method that a public service does not have.
    assert all(seen.path == path for seen in door.invoke.seen)
    calls = [(name, call) for name, echo in door.echoes.items() for call in echo.calls]
    assert all(method == path and "x-fnmesh-service-token" not in metadata for _, (method, metadata) in calls)
    assert all(name == "registry" for name, _ in calls)


@pytest.mark.parametrize(
    "body",
    [
        "-3\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        "3\nabc\n0\n\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "\r\n",
    ],
)
async def test_chunks_that_are_none_end_the_connection(door: Door, body: str) -> None:
    async with raw_client(door) as client:
        client.send(post(CHUNKED, body=body) + SMUGGLED)
        status, _, error = parsed_error(await client.last_answer())
    assert (status, error["reason"]) == (400, "BAD_REQUEST")
    # The head may have been passed on by then; neither the end of its body nor what follows was.
    assert {(seen.path, seen.body) for seen in door.invoke.seen} <= {("/api/x", b"")}
