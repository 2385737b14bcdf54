"""What of a body is kept with the record of a run."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invoke_svc.bodies import kept
from mesh.logs import is_secret_name, may_hold_secret_name, redact

# What is a member, in one expression: far too slow for some bodies, and what the quick one has to find.
_MEMBER = re.compile(r'"((?:[^"\\]|\\.){0,60})"(\s*:\s*)("(?:[^"\\]|\\.)*(?:"|\\?\Z)|[^\s,{}\[\]"]+)')
_PIECES = (
    *'"\\:,{}[] \n\t/@é\u2028', '\\"', "\\\\", "\\\n", '":"', '": ', '"a": ', '\\"' * 30, '\\"' * 61, "b" * 52,
    "b" * 60, "token", '"Token":', "password", '"env"', '"env\n"', "env", "api_key", "ap\u0131Key", "\u017fecret", "1",
    "null", "://", "fnm_12345678",
)  # fmt: skip


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
        (b'{"url": "https://fnm_0123456789abcdef:hunter2@host/x"}', '{"url": "https://****@host/x"}'),
        (b'{"key": "fnm_0123456789abcdef"}', '{"key": "****"}'),
    ],
)
def test_beginnings(body: bytes, shown: str) -> None:
    assert kept(body, 64) == shown


def test_nothing_is_kept_where_nothing_shall_be() -> None:
    assert kept(b"hello", 0) == ""


def _masked(member: re.Match[str]) -> str:
    return f'"{member[1]}"{member[2]}"****"' if is_secret_name(member[1]) else member[0]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(_PIECES), max_size=30).map("".join))
def test_what_is_struck_out_of_bodies_that_are_no_json(text: str) -> None:
    expected = redact("", _MEMBER.sub(_masked, text))
    assert kept(text.encode(), 10_000) == expected


@pytest.mark.parametrize("characters", [52, 53, 54, 55, 56, 57, 61, 100])
@pytest.mark.parametrize("before", ["", "b" * 40, "b" * 100, 'b\\"' * 60])
@pytest.mark.parametrize("value", ["1", '"' + "b" * 50, '"' + "b" * 50 + "\\\n", "", '" ": 1'])
def test_a_name_may_begin_at_a_quote_that_is_escaped(characters: int, before: str, value: str) -> None:
    text = f'x"{before}\\"{"b" * characters}token": {value}'
    assert kept(text.encode(), 10_000) == _MEMBER.sub(_masked, text)


@settings(deadline=None)
@given(st.text(), st.sampled_from(["secret", "Token", "API_KEY", "apikey\n", "env", "ENV", "cook\u0131e"]), st.text())
def test_no_secret_name_is_overlooked(before: str, name: str, after: str) -> None:
    for part in (name, before + name, name + after):
        assert may_hold_secret_name(before + part + after) or not is_secret_name(part)
