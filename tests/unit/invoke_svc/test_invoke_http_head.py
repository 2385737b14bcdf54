"""Metadata to an HTTP head and back."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import pytest
from google.api import httpbody_pb2
from hypothesis import given
from hypothesis import strategies as st

from invoke_svc import httpbody
from invoke_svc.http_head import RequestHead, answer_head, answer_headers
from mesh.errors import InvalidArgument

BASE = (("x-fn-method", "GET"), ("x-fn-path", "/api/a"), ("x-fn-host", "h"))


def encoded(*metadata: tuple[str, str | bytes], method: str = "GET", body_bytes: int | None = 0) -> list[str]:
    head = RequestHead.from_metadata((("x-fn-method", method), *BASE[1:], *metadata))
    return head.encode((), body_bytes).decode().split("\r\n")


def test_the_form_of_a_head() -> None:
    assert encoded(("x-a", "1")) == ["GET /api/a HTTP/1.1", "host: h", "x-a: 1", "", ""]
    assert encoded(("x-a", "ü"))[2] == "x-a: ü"


@pytest.mark.parametrize(
    "name",
    ["content-length", "transfer-encoding", "connection", "te", "upgrade", "host", "expect", "x-fn-anything",
     "x-fnmesh-service-token", "x-envoy-x", "grpc-status", "x-bin", "proxy-connection", "keep-alive", "bad name"],
)  # fmt: skip
def test_names_that_never_reach_a_workload(name: str) -> None:
    for _ in range(2):
        assert encoded((name, "x")) == ["GET /api/a HTTP/1.1", "host: h", "", ""]


@given(st.lists(st.tuples(st.text(min_size=1, max_size=8), st.text(max_size=12)), max_size=5), st.text(max_size=8))
def test_no_metadata_adds_a_line(metadata: list[tuple[str, str]], host: str) -> None:
    try:
        head = RequestHead.from_metadata((*BASE[:2], ("x-fn-host", host), *metadata))
        raw = head.encode([], 0)
    except InvalidArgument:
        return
    lines = raw.split(b"\r\n")
    assert raw.count(b"\n") == raw.count(b"\r") == len(lines) - 1
    assert len(lines) <= len(metadata) + 4
    assert lines[-2:] == [b"", b""] and b"" not in lines[:-2]


@pytest.mark.parametrize("method", ["", "GET /x", "G\r\n", "CONNECT", "PRI", "GÉT", "A" * 300])
def test_methods_that_are_none(method: str) -> None:
    with pytest.raises(InvalidArgument):
        encoded(method=method)


def test_the_length_is_ours_to_say() -> None:
    assert "content-length: 0" in encoded(method="POST")
    assert "content-length: 5" in encoded(method="DELETE", body_bytes=5)
    assert not [line for line in encoded() if line.startswith("content-length")]
    assert "transfer-encoding: chunked" in encoded(method="POST", body_bytes=None)


def metadata_of(*headers: tuple[bytes, bytes], status: int = 200) -> list[tuple[str, str]]:
    return answer_head(status, list(headers)).metadata


def test_an_answers_headers() -> None:
    got = metadata_of(
        (b"content-type", b"text/html"), (b"set-cookie", b"a"), (b"set-cookie", b"b"), (b"x-pct", b"100%"),
        (b"content-length", b"3"), (b"date", b"now"), (b"transfer-encoding", b"chunked"), (b"x-envoy-x", b"1"),
    )  # fmt: skip
    assert got == [
        ("x-fn-status", "200"), ("x-fn-ct", "text/html"), ("x-fn-h", "set-cookie=a"), ("x-fn-h", "set-cookie=b"),
        ("x-fn-h", "x-pct=100%25"), ("x-fn-h", "content-length=3"), ("x-fn-h", "date=now"),
    ]  # fmt: skip
    assert metadata_of((b"content-length", b"3"), status=304) == [("x-fn-status", "304")]


@given(st.binary(max_size=30))
def test_any_value_survives_the_way(value: bytes) -> None:
    ((_, _), (_, pair)) = metadata_of((b"x-a", value))
    name, _, text = pair.partition("=")
    assert (name, unquote_to_bytes(text)) == ("x-a", value)
    assert text.isascii() and (text.isprintable() or not text)


def test_what_the_workload_tells_the_mesh() -> None:
    head = answer_head(503, [(b"x-fn-not-started", b"1"), (b"x-fn-timeout", b"stuck"), (b"x-fn-error", b"handler")])
    assert (head.not_started, head.timeout, head.fn_error) == (True, "stuck", "handler")
    assert head.metadata == [("x-fn-status", "503")]


def test_headers_of_a_direct_answer() -> None:
    headers = [(b"content-type", b"a/b"), (b"connection", b"x"), (b"x-fn-error", b"1"), (b"x-a", b"\xff")]
    assert answer_headers(headers) == [("content-type", "a/b"), ("x-a", "ÿ")]


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16383, 16384, 3_000_000])
def test_http_bodies_by_hand(size: int) -> None:
    data = b"\x00" * size
    assert httpbody.encode(data) == httpbody_pb2.HttpBody(data=data).SerializeToString()
    whole = httpbody_pb2.HttpBody(content_type="a/b", data=data)
    assert httpbody.decode(whole.SerializeToString()) == ("a/b", data)
    assert httpbody.decode(b"") == ("", b"")
    assert httpbody.encode(data[:7], data[7:]) == httpbody.encode(data)
    for message in (httpbody.encode(data), whole.SerializeToString(), httpbody.encode(data) + b"\x0a\x00"):
        assert httpbody.decode_piece(message) == data


def test_headers_that_grpc_cannot_carry() -> None:
    assert encoded(("cookie", "a=1"), ("x-fn-rh", "cookie=b=%C3%BC"))[2] == "cookie: a=1; b=ü"
    head = RequestHead.from_metadata((*BASE, ("x-fn-rh", "x-bin=%E9%25")))
    assert b"x-bin: \xe9%\r\n" in head.encode((), 0)
    assert encoded(("x-fn-rh", "x-fn-timeout-ms=1"), ("x-fn-rh", "traceparent=x"))[2:] == ["", ""]
