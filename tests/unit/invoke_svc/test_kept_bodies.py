"""What of a body is kept with the record of a run."""

from __future__ import annotations

import pytest

from invoke_svc.bodies import kept


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"", ""),
        (b'{"message": "hello"}', '{"message": "hello"}'),
        (b"plain text", "plain text"),
        ("é".encode() * 40, "é" * 32 + "…"),
        (b"x" + "é".encode() * 40, "x" + "é" * 31 + "…"),
        (b"\xff\xfe", ""),
        (b"a\x00b", ""),
        (b'{"password": "x\\"y", "a": 1}', '{"password": "****", "a": 1}'),
        (b'{"a": {"api_key":12}, "b": [{"Token" : null}]}', '{"a": {"api_key":"****"}, "b": [{"Token" : "****"}]}'),
        (b'{"a": "' + b"x" * 30 + b'", "secret": "' + b"s" * 40 + b'"}', '{"a": "' + "x" * 30 + '", "secret": "****"'),
        (b'{"url": "postgres://me:hunter2@db/x"}', '{"url": "postgres://****@db/x"}'),
        (b'{"key": "fnm_0123456789abcdef"}', '{"key": "****"}'),
    ],
)
def test_beginnings(body: bytes, shown: str) -> None:
    assert kept(body, 64) == shown


def test_nothing_is_kept_where_nothing_shall_be() -> None:
    assert kept(b"hello", 0) == ""
