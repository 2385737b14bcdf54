"""What becomes of a handler's result, in both servers."""

from __future__ import annotations

import base64

import pytest

from .conftest import TRACE, TRACEPARENT, Start


def test_a_shape_sets_status_headers_cookies_and_body(start: Start) -> None:
    # given a handler that returns this very value
    shape = {
        "statusCode": 201,
        "headers": {"X-One": "1", "X-Number": 7, "X-List": ["a", "b"], "Content-Type": "text/html"},
        "multiValueHeaders": {"x-multi": ["c", "d"], "x-one": ["2", "3"]},
        "cookies": ["s=1; HttpOnly", "t=2"],
        "body": "<p>ü</p>",
    }
    # when
    answer = start("echo").invoke(shape)
    # then
    assert (answer.status, answer.body) == (201, "<p>ü</p>".encode())
    assert answer.header("content-type") == "text/html"
    assert answer.header("x-one") == "2|3"
    assert answer.header("x-number") == "7"
    assert answer.header("x-list") == "a|b"
    assert answer.header("x-multi") == "c|d"
    assert answer.header("set-cookie") == "s=1; HttpOnly|t=2"


@pytest.mark.parametrize(
    ("body", "content_type", "sent"),
    [
        ("text", "text/plain; charset=utf-8", b"text"),
        ({"a": 1}, "application/json", b'{"a":1}'),
        ([1], "application/json", b"[1]"),
        (0, "application/json", b"0"),
        (None, None, b""),
        ("", None, b""),
    ],
)
def test_a_body_without_a_type_gets_one(start: Start, body: object, content_type: str | None, sent: bytes) -> None:
    answer = start("echo").invoke({"statusCode": 200, "body": body})
    assert (answer.header("content-type"), answer.body) == (content_type, sent)
    assert answer.header("content-length") == str(len(sent))


def test_bytes_and_base64_bodies_are_binary(start: Start) -> None:
    every = bytes(range(256))
    raw = start("binary").invoke({})
    coded = start("echo").invoke({"statusCode": 200, "body": base64.b64encode(every).decode(), "isBase64Encoded": True})
    assert raw.body == coded.body == every
    assert raw.header("content-type") == coded.header("content-type") == "application/octet-stream"


def test_any_other_value_is_a_200_of_its_json(start: Start) -> None:
    server = start("echo")
    for value in ({"statusCode": "text"}, {"a": "é"}, "text", 1.5, [None], False):
        answer = server.invoke(value)
        assert (answer.status, answer.json) == (200, value)
    assert start("nothing").invoke({}).json is None


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ({"statusCode": 99}, "statusCode"),
        ({"statusCode": 600}, "statusCode"),
        ({"statusCode": 200, "headers": {"x-a": "1\r\nx-b: 2"}}, "x-a"),
        ({"statusCode": 200, "headers": {"x a": "1"}}, "x a"),
        ({"statusCode": 200, "headers": {"x-a\r\nx-b": "1"}}, "not valid"),
        ({"statusCode": 200, "headers": {"x-a": {"no": 1}}}, "x-a"),
        ({"statusCode": 200, "headers": [1]}, "headers"),
        ({"statusCode": 200, "cookies": ["a=1\nb: 2"]}, "set-cookie"),
        ({"statusCode": 200, "body": "!", "isBase64Encoded": True}, "base64"),
    ],
)
def test_a_shape_that_cannot_be_sent_is_a_500_that_says_why(start: Start, shape: dict[str, object], said: str) -> None:
    answer = start("echo").invoke(shape, traceparent=TRACEPARENT)
    assert answer.status == 500
    assert answer.json["errorType"] == "ResultInvalid"
    assert said in answer.json["errorMessage"]
    assert answer.json["trace_id"] == TRACE
    assert answer.header("x-b") is None


@pytest.mark.parametrize("handler", ["circular", "not_json"])
def test_a_result_that_is_not_json_is_a_500_that_says_so(start: Start, handler: str) -> None:
    answer = start(handler).invoke({})
    assert answer.status == 500
    assert answer.json["errorType"] == "ResultInvalid"
    assert "not JSON" in answer.json["errorMessage"]
    assert answer.header("x-fn-error") == "handler"


@pytest.mark.parametrize("handler", ["fails", "fails_async"])
def test_an_exception_is_a_500_with_its_traceback_in_the_log_only(start: Start, handler: str) -> None:
    # given
    server = start(handler)
    # when
    answer = server.invoke({}, traceparent=TRACEPARENT)
    # then
    assert answer.status == 500
    assert answer.json == {"errorType": "ValueError", "errorMessage": "no luck", "trace_id": TRACE}
    assert answer.header("x-fn-error") == "handler"
    log = [frame["m"] for frame in server.frames("stderr") if frame["trace"] == TRACE]
    assert any("no luck" in line for line in log)
    assert any("handlers." in line for line in log)
    assert not any("fnmesh_worker" in line for line in log)


def test_a_handler_that_exits_fails_its_own_call_only(start: Start) -> None:
    server = start("exits")
    assert server.invoke({}).status == 500
    assert server.invoke({}).status == 500


def test_the_handler_cannot_forge_headers_of_the_platform_or_of_the_connection(start: Start) -> None:
    # given a handler that tries to have its call repeated elsewhere, and to break the framing
    forged = {
        "X-Fn-Not-Started": "1",
        "Transfer-Encoding": "chunked",
        "Content-Length": "3",
        "Connection": "upgrade",
    }
    # when
    answer = start("echo").invoke({"statusCode": 503, "headers": forged, "body": "whole"})
    # then
    assert (answer.status, answer.body) == (503, b"whole")
    assert answer.header("x-fn-not-started") is None
    assert answer.header("transfer-encoding") is None
    assert answer.header("content-length") == "5"


def test_head_announces_the_body_it_does_not_send(start: Start) -> None:
    # given
    connection = start("hello").connect()
    # when
    connection.request("HEAD", "/api/f")
    head = connection.getresponse()
    head.read()
    connection.request("GET", "/api/f")
    # then
    assert head.getheader("content-length") == "5"
    assert connection.getresponse().read() == b"hello"


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_has_none(start: Start, status: int) -> None:
    # given
    server = start("echo")
    connection = server.begin({"statusCode": status, "headers": {"etag": "x"}, "body": "ignored"})
    # when
    answer = server.answer(connection)
    connection.request("GET", "/.fnmesh/ready")
    # then
    assert (answer.status, answer.body, answer.header("content-length")) == (status, b"", None)
    assert server.answer(connection).body == b"ok"
