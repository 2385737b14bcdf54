"""What a handler is given, by both servers."""

from __future__ import annotations

import base64
import re
import time

import pytest

from .conftest import TRACE, TRACEPARENT, Start


def test_an_http_request_becomes_the_payload_2_event(start: Start) -> None:
    # given
    server = start("echo")
    before = time.time()
    # when
    event = server.call(
        "POST",
        "/api/shop/a%20b?x=1&y=%C3%A9+z&x=2",
        b'{"a": 1}',
        Content_Type="application/json; charset=utf-8",
        User_Agent="tester/1",
        X_Forwarded_For="203.0.113.9, 10.0.0.1",
        Cookie="a=1; b=2",
        Host="fn.example.com:8080",
        X_Fn_Request_Id="req-1",
    ).json
    # then
    context = event["requestContext"]
    assert event["version"] == "2.0"
    assert event["routeKey"] == context["routeKey"] == context["stage"] == "$default"
    assert event["rawPath"] == "/api/shop/a%20b"
    assert event["rawQueryString"] == "x=1&y=%C3%A9+z&x=2"
    assert event["queryStringParameters"] == {"x": "1,2", "y": "é z"}
    assert event["cookies"] == ["a=1", "b=2"]
    assert "cookie" not in event["headers"]
    assert event["headers"]["content-type"] == "application/json; charset=utf-8"
    assert (event["body"], event["isBase64Encoded"]) == ('{"a": 1}', False)
    assert context["http"] == {
        "method": "POST",
        "path": "/api/shop/a%20b",
        "protocol": "HTTP/1.1",
        "sourceIp": "203.0.113.9",
        "userAgent": "tester/1",
    }
    assert (context["accountId"], context["domainName"], context["apiId"]) == (
        "anonymous",
        "fn.example.com",
        "fn",
    )
    assert context["requestId"] == "req-1"
    assert before - 1 <= context["timeEpoch"] / 1000 <= time.time() + 1
    assert re.fullmatch(r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000", context["time"])


def test_a_request_without_query_cookies_or_body_has_none_in_its_event(start: Start) -> None:
    event = start("echo").call().json
    assert not {"queryStringParameters", "cookies", "body"} & set(event)
    assert event["isBase64Encoded"] is False
    assert event["rawQueryString"] == ""


def test_repeated_headers_are_joined_and_internal_ones_are_hidden(start: Start) -> None:
    # given
    server = start("echo")
    raw = server.raw()
    # when
    raw.sendall(
        b"GET /api/f HTTP/1.1\r\nHost: a\r\nX-Many: 1\r\nx-many: 2\r\nX-Fn-Timeout-Ms: 5000\r\n"
        b"x-fn-other: 1\r\n"
        b"traceparent: " + TRACEPARENT.encode() + b"\r\nConnection: close\r\n\r\n"
    )
    answer = b"".join(iter(lambda: raw.recv(65536), b""))
    # then
    assert b'"x-many":"1,2"' in answer
    assert TRACEPARENT.encode() in answer
    assert b"x-fn-" not in answer


@pytest.mark.parametrize(
    ("content_type", "body", "as_text"),
    [
        ("text/plain", "grüß".encode(), True),
        ("application/x-www-form-urlencoded", b"a=1", True),
        ("application/problem+json", b"{}", True),
        ("image/svg+xml", b"<svg/>", True),
        ("text/plain", b"\xff\xfe", False),
        ("application/octet-stream", b"abc", False),
        ("multipart/form-data; boundary=x", b"--x--", False),
    ],
)
def test_text_bodies_are_text_and_others_base64(start: Start, content_type: str, body: bytes, as_text: bool) -> None:
    event = start("echo").call("POST", body=body, Content_Type=content_type).json
    assert event["isBase64Encoded"] is not as_text
    assert event["body"] == (body.decode() if as_text else base64.b64encode(body).decode())


@pytest.mark.parametrize("value", [{"a": [1, None]}, [1, 2], "text", 3, True, None])
def test_a_direct_invoke_gives_the_json_value_itself(start: Start, value: object) -> None:
    answer = start("echo_async").invoke(value)
    assert (answer.status, answer.json) == (200, value)
    assert answer.header("content-type") == "application/json"


def test_an_empty_direct_invoke_gives_an_empty_object(start: Start) -> None:
    assert start("echo").call("POST", "/.fnmesh/invoke").json == {}


def test_the_body_format_gives_the_json_body_or_an_empty_object(start: Start) -> None:
    server = start("echo", event_format="body")
    assert server.call("POST", body=b"[1]").json == [1]
    assert server.call("GET").json == {}


@pytest.mark.parametrize("body", [b"{", b"\xff", b"NaN"])
def test_a_body_that_is_not_json_is_refused(start: Start, body: bytes) -> None:
    answer = start("echo", event_format="body").call("POST", body=body)
    assert answer.status == 400
    assert answer.json["errorType"] == "InvalidJson"
    assert answer.header("x-fn-error") is None


def test_the_context_tells_who_is_called_and_how_long_it_may_take(start: Start) -> None:
    # given
    server = start("context_of", memory_mb=512, timeout_ms=9000)
    # when
    plain = server.invoke({}, traceparent=TRACEPARENT, X_Fn_Request_Id="req-2").json
    hurried = server.invoke({}, X_Fn_Timeout_Ms="2000").json
    # then
    assert 8000 < plain.pop("remaining") <= 9000
    assert plain == {
        "name": "my-function",
        "version": "rev-7",
        "memory": 512,
        "request": "req-2",
        "trace": TRACE,
    }
    assert 1000 < hurried["remaining"] <= 2000
    assert re.fullmatch(r"[0-9a-f-]{36}", hurried["request"])


@pytest.mark.parametrize("traceparent", ["", "nonsense", "00-" + "0" * 32 + "-b7ad6b7169203331-01", "00-XYZ-1-01"])
def test_a_bad_traceparent_is_no_trace(start: Start, traceparent: str) -> None:
    assert start("context_of").invoke({}, traceparent=traceparent).json["trace"] == ""
