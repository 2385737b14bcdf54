"""Streamed results, in both servers."""

from __future__ import annotations

import http.client
import time
from pathlib import Path

import pytest

from .conftest import Start, eventually


@pytest.mark.parametrize("handler", ["stream", "stream_async"])
def test_each_item_is_sent_when_it_is_yielded(start: Start, handler: str) -> None:
    # given a handler that yields once and then waits for the gate
    server = start(handler)
    gate = server.file("gate")
    # when
    response = server.begin({"gate": str(gate)}).getresponse()
    first = response.read1()
    gate.touch()
    # then
    assert first == b"one"
    assert response.read() == b"two"
    assert response.getheader("transfer-encoding") == "chunked"
    assert response.getheader("content-type") == "text/plain; charset=utf-8"


def test_an_empty_item_does_not_end_the_stream(start: Start) -> None:
    answer = start("returned_stream").invoke({})
    assert (answer.status, answer.body) == (200, b"ab")


def test_the_first_item_may_set_the_head(start: Start) -> None:
    answer = start("stream_with_head").invoke({})
    assert (answer.status, answer.body) == (202, b"1,2\n3,4\n")
    assert answer.header("x-kind") == "mine"
    assert answer.header("content-type") == "text/csv"
    assert answer.header("set-cookie") == "a=1|b=2"


def test_values_are_streamed_as_lines_of_json(start: Start) -> None:
    answer = start("stream_of_json").invoke({})
    assert answer.body == b'{"n":1}\n{"n":2}\n'
    assert answer.header("content-type") == "application/x-ndjson"


def test_a_stream_of_nothing_is_an_empty_200(start: Start) -> None:
    answer = start("empty_stream").invoke({})
    assert (answer.status, answer.body, answer.header("content-length")) == (200, b"", "0")


def test_an_exception_before_the_first_item_is_a_500(start: Start) -> None:
    answer = start("stream_fails_first").invoke({})
    assert (answer.status, answer.json["errorType"]) == (500, "ValueError")


def test_an_exception_after_the_head_cuts_the_stream_short(start: Start) -> None:
    # given
    server = start("stream_fails")
    # when
    response = server.begin({}).getresponse()
    # then the client can tell that it has not seen the whole
    with pytest.raises(http.client.IncompleteRead) as caught:
        response.read()
    assert caught.value.partial in (b"one", b"")
    eventually(lambda: any("no luck" in frame["m"] for frame in server.frames("stderr")))


def test_a_streaming_connection_serves_the_next_request(start: Start) -> None:
    server = start("stream_of_json")
    connection = server.connect()
    for _ in range(3):
        connection.request("POST", "/.fnmesh/invoke", b"{}")
        assert server.answer(connection).body == b'{"n":1}\n{"n":2}\n'


def test_head_of_a_stream_ends_the_handler_with_its_head(start: Start) -> None:
    # given a handler with one slot that never stops yielding
    server = start("endless", concurrency=1)
    # when
    answer = server.call("HEAD")
    # then its slot is free again
    assert (answer.status, answer.body) == (200, b"")
    eventually(lambda: server.call("HEAD").status == 200)


def test_a_stream_with_a_status_without_a_body_has_none(start: Start) -> None:
    server = start("stream_204")
    connection = server.connect()
    for _ in range(2):
        connection.request("GET", "/api/f")
        answer = server.answer(connection)
        assert (answer.status, answer.body) == (204, b"")


def test_head_of_a_stream_has_no_body(start: Start) -> None:
    server = start("stream_of_json")
    connection = server.connect()
    connection.request("HEAD", "/api/f")
    assert server.answer(connection).body == b""
    connection.request("GET", "/api/f")
    assert server.answer(connection).body == b'{"n":1}\n{"n":2}\n'


def test_http_1_0_gets_a_stream_that_ends_with_the_connection(start: Start) -> None:
    raw = start("stream_of_json").raw()
    raw.sendall(b"GET /api/f HTTP/1.0\r\n\r\n")
    answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answer.endswith(b'\r\n\r\n{"n":1}\n{"n":2}\n')


def _stalled(progress: Path) -> int:
    """The number in `progress` once it has stood still for a while."""

    def still() -> bool:
        before = _read(progress)
        give_up = time.monotonic() + 0.3
        while time.monotonic() < give_up:
            if _read(progress) != before:
                return False
        return before >= 0

    eventually(still)
    return _read(progress)


def _read(progress: Path) -> int:
    try:
        return int(progress.read_text() or -1)
    except FileNotFoundError:
        return -1


def test_a_slow_reader_holds_the_handler_back(start: Start) -> None:
    # given a handler that could yield 64 MiB at once
    server = start("big_stream")
    progress = server.file("progress")
    # when nobody reads
    connection = server.begin({"chunks": 1024, "progress": str(progress)})
    at_rest = _stalled(progress)
    # then it has come no further than some buffers' worth, and reading lets it finish
    assert at_rest < 100
    assert len(server.answer(connection).body) == 1024 * 65536
    assert server.frames("stderr") == []
