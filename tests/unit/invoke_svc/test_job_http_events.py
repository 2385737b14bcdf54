"""Requests that become events, and events that become requests again."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from invoke_svc.domain import Route
from invoke_svc.http_head import RequestHead
from invoke_svc.jobs.http_events import event_of, prefers_async
from invoke_svc.jobs.http_replay import replay
from mesh.errors import InvalidArgument

ROUTE = Route("fn-1", "workspaces/ws-1/functions/fn-1", "ws-1", "f", "default", "f", frozenset(), 1, 30.0)


def request(*metadata: tuple[str, str]) -> RequestHead:
    given = [
        ("x-fn-method", "PUT"),
        ("x-fn-path", "/api/f/a%20b?x=1&x=2&y=a+b"),
        ("x-fn-host", "example.com:8080"),
        ("x-fn-ct", "application/json"),
        *metadata,
    ]
    return RequestHead.from_metadata(given)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (["respond-async"], True),
        (["wait=10, Respond-Async; foo=bar"], True),
        (["return=minimal", "respond-async"], True),
        (["return=minimal"], False),
        (['foo="respond-async"'], False),
        ([], False),
    ],
)
def test_the_preference(values: list[str], wanted: bool) -> None:
    head = request(*(("prefer", value) for value in values))
    assert prefers_async(head.prefer) is wanted
    assert [line for line in head.lines if line.startswith("prefer")] == [f"prefer: {value}" for value in values]


def test_a_request_comes_back_as_it_was() -> None:
    head = request(("accept", "a"), ("accept", "b"), ("cookie", "c=1; d=2"), ("authorization", "Basic x"))
    event, http = event_of(ROUTE, head, b'{"n": 1}', "r1")
    assert http
    told = json.loads(event)
    assert (told["rawPath"], told["rawQueryString"]) == ("/api/f/a%20b", "x=1&x=2&y=a+b")
    assert told["queryStringParameters"] == {"x": "1,2", "y": "a b"}
    assert (told["cookies"], told["headers"]["accept"]) == (["c=1", "d=2"], "a,b")
    assert (told["body"], told["isBase64Encoded"]) == ('{"n": 1}', False)
    body, again = replay(event)
    assert (body, again.method, again.target, again.host) == (b'{"n": 1}', "PUT", head.target, "example.com:8080")
    assert set(again.lines) == {"accept: a,b", "cookie: c=1; d=2", "authorization: Basic x"}
    assert again.content_type == "application/json"


def test_bytes_are_kept() -> None:
    head = request()
    head.content_type = "image/png"
    event, _ = event_of(ROUTE, head, b"\x89PNG\xff", "r1")
    assert json.loads(event)["isBase64Encoded"] is True
    assert replay(event)[0] == b"\x89PNG\xff"


def test_a_function_that_takes_the_body_gets_it() -> None:
    route = replace(ROUTE, body_event=True)
    assert event_of(route, request(), b"[1]", "r1") == (b"[1]", False)
    assert event_of(route, request(), b"", "r1") == (b"{}", False)
    with pytest.raises(InvalidArgument):
        event_of(route, request(), b"[1", "r1")
