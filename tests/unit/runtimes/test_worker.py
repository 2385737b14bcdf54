"""The pure parts of the Python server, over many inputs."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimes.python.fnmesh_worker import events, logs, options, replies

LINE = st.text(alphabet=st.characters(exclude_categories=()), max_size=30)


@given(st.dictionaries(LINE, LINE, max_size=4), st.lists(LINE, max_size=3))
def test_no_header_of_a_handler_splits_the_response(headers: dict[str, str], cookies: list[str]) -> None:
    shape = {"statusCode": 200, "headers": headers, "cookies": cookies, "body": "end"}
    try:
        wire = replies.of_result(shape).wire(to_head=False, close=False)
    except replies.ResultInvalid:
        return
    head, _, body = wire.partition(b"\r\n\r\n")
    assert body == b"end"
    lines = head.split(b"\r\n")
    assert len(lines) <= 3 + len(headers) + len(cookies)
    assert all(b"\r" not in line and b"\n" not in line for line in lines)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_every_json_value_becomes_a_reply_or_a_clear_error(value: object) -> None:
    try:
        reply = replies.of_result(value)
    except replies.ResultInvalid:
        return
    if not (isinstance(value, dict) and "statusCode" in value):
        assert events.json_event(reply.body) == value


@given(st.lists(st.tuples(st.text(min_size=1, max_size=5), st.text(max_size=5)), max_size=5))
def test_query_parameters_are_those_of_the_standard_library(pairs: list[tuple[str, str]]) -> None:
    from urllib.parse import urlencode

    query = urlencode(pairs, errors="replace")
    expected: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        expected[name] = f"{expected[name]},{value}" if name in expected else value
    assert events.query_parameters(query) == expected


@given(st.text())
def test_a_traceparent_gives_32_hex_digits_or_nothing(text: str) -> None:
    assert events.trace_id_of(text) == ""


def test_a_traceparent_gives_its_trace_id() -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    assert events.trace_id_of(f"00-{trace}-b7ad6b7169203331-01") == trace
    assert events.trace_id_of(f"ff-{trace}-b7ad6b7169203331-01") == ""
    assert events.trace_id_of(f"00-{trace.upper()}-b7ad6b7169203331-01") == ""


@given(st.text(alphabet="aé€😀", min_size=1, max_size=50), st.integers(1, 4000))
def test_pieces_of_a_line_are_the_line(text: str, times: int) -> None:
    pieces = logs._pieces(text * times)
    assert "".join(pieces) == text * times
    assert all(len(piece.encode()) <= logs.LINE_LIMIT_BYTES for piece in pieces)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--no-such"], "--no-such"),
        (["--listen", "unix:/s"], "--app"),
        (["--listen", "/s", "--app", "a", "--file", "f"], "unix:/path"),
        (["--listen", "unix:/s", "--app", "a", "--file", "f", "--concurrency", "x"], "--concurrency"),
        (["--listen", "unix:/s", "--app", "a", "--file", "f", "--concurrency", "0"], "at least 1"),
        (["--listen", "unix:/s", "--app", "a", "--file", "f", "--event-format", "v1"], "v2 or body"),
    ],
)
def test_a_wrong_command_line_says_what_to_change(argv: list[str], said: str) -> None:
    with pytest.raises(options.UsageError, match=said):
        options.parse(argv)


def test_both_spellings_of_an_option_are_read() -> None:
    parsed = options.parse(["--listen=unix:/s", "--app", "a", "--file=f", "--timeout-ms", "7"])
    assert (parsed.listen, parsed.app, parsed.file, parsed.timeout_ms) == ("unix:/s", "a", "f", 7)
