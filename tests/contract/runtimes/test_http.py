"""The HTTP/1.1 of both servers: keep-alive, pipelining, limits and requests that are not well-formed."""

from __future__ import annotations

import json
import socket

import pytest

from .conftest import Start


def _all(raw: socket.socket) -> bytes:
    """Everything until the server closes, or resets, the connection."""
    received = b""
    try:
        while piece := raw.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return received


def test_a_connection_serves_many_requests(start: Start) -> None:
    server = start("echo")
    connection = server.connect()
    for n in range(50):
        connection.request("POST", "/.fnmesh/invoke", json.dumps({"n": n}).encode())
        assert server.answer(connection).json == {"n": n}


def test_pipelined_requests_are_answered_in_order(start: Start) -> None:
    # given
    raw = start("echo", concurrency=100).raw()
    # when
    requests = [
        b"POST /.fnmesh/invoke HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n%b\r\n%b"
        % (len(body), b"Connection: close\r\n" if n == 49 else b"", body)
        for n in range(50)
        for body in [b'"number %d"' % n]
    ]
    raw.sendall(b"".join(requests))
    answers = _all(raw)
    # then
    places = [answers.find(b'"number %d"' % n) for n in range(50)]
    assert -1 not in places
    assert places == sorted(places)


def test_a_request_may_arrive_byte_by_byte(start: Start) -> None:
    raw = start("echo").raw()
    for byte in b'POST /.fnmesh/invoke HTTP/1.1\r\nConnection: close\r\nHost: a\r\nContent-Length: 6\r\n\r\n"four"':
        raw.sendall(bytes([byte]))
    assert _all(raw).endswith(b'\r\n\r\n"four"')


def test_a_chunked_request_body_is_put_together(start: Start) -> None:
    raw = start("echo").raw()
    raw.sendall(
        b"POST /.fnmesh/invoke HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        b'3\r\n"ab\r\n3\r\ncd"\r\n0\r\n\r\n'
    )
    assert _all(raw).endswith(b'\r\n\r\n"abcd"')


def test_expect_continue_is_answered(start: Start) -> None:
    raw = start("echo").raw()
    raw.sendall(
        b"POST /.fnmesh/invoke HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n"
        b"Connection: close\r\n\r\n"
    )
    assert raw.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
    raw.sendall(b"[]")
    assert _all(raw).endswith(b"\r\n\r\n[]")


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_the_limit_is_a_413(start: Start, announced: bool) -> None:
    # given
    server = start("echo", max_body_bytes=1000)
    raw = server.raw()
    # when
    if announced:
        raw.sendall(b"POST /api/f HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n")
    else:
        raw.sendall(b"POST /api/f HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        raw.sendall(b"3e9\r\n" + b"x" * 1001 + b"\r\n")
    answer = raw.recv(65536)
    # then
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()
    assert b"BodyTooLarge" in answer
    assert server.invoke("x" * 998).status == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET /api/f HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /api/f HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"GET /api/f HTTP/1.1\r\nHost: a\r\nbad header: 1\r\n\r\n",
    ],
)
def test_a_malformed_request_is_a_400_and_closes_the_connection(start: Start, request_bytes: bytes) -> None:
    server = start("hello")
    raw = server.raw()
    raw.sendall(request_bytes)
    assert raw.recv(65536).startswith(b"HTTP/1.1 400 ")
    assert server.invoke({}).body == b"hello"


def test_headers_without_end_are_refused(start: Start) -> None:
    # given
    raw = start("hello").raw()
    raw.sendall(b"GET /api/f HTTP/1.1\r\nHost: a\r\n")
    # when
    try:
        for _ in range(64):
            raw.sendall(b"x-a: " + b"a" * 8000 + b"\r\n")
    except OSError:
        pass  # it may close while this is still sending
    # then
    assert raw.recv(65536).startswith(b"HTTP/1.1 431 ")


def test_an_unknown_internal_path_is_a_404(start: Start) -> None:
    assert start("hello").call(path="/.fnmesh/other").status == 404


def test_a_request_to_upgrade_is_answered_as_the_request_it_is(start: Start) -> None:
    raw = start("hello").raw()
    raw.sendall(b"GET /api/f HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    answer = raw.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(b"hello")


def test_a_large_body_goes_in_and_out(start: Start) -> None:
    body = b'"' + b"x" * (8 * 1024 * 1024) + b'"'
    assert start("echo").call("POST", "/.fnmesh/invoke", body).body == body
