"""What lines are asked for, and times as callers write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rest.line_query import QUERY, LineQuery, line_query
from gateway.rest.times import TIME, time_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", LineQuery([], [])),
        ("Error 50%", LineQuery(["Error 50%"])),
        ('|= "a" != "b"', LineQuery(["a"], ["b"])),
        (' {function_id="fn-x"}|="say \\"hi\\" \\\\" ', LineQuery(['say "hi" \\'], [], "fn-x")),
        ('{}!= ""', LineQuery([], [])),
        ('key="value"', LineQuery(['key="value"'])),
    ],
)
def test_words_and_logql(text: str, expected: LineQuery) -> None:
    assert re.fullmatch(QUERY, text)
    assert line_query(text) == expected


@pytest.mark.parametrize("text", ['{job="x"}', '|~ "a.*"', "{", '|= "open', "|= `raw`", "a\0b", '|= "a" | json'])
def test_what_cannot_be_answered_is_no_query(text: str) -> None:
    assert not re.fullmatch(QUERY, text)


@given(st.lists(st.text(min_size=1).filter(lambda text: "\0" not in text), max_size=3))
def test_no_text_gets_out_of_its_quotes(texts: list[str]) -> None:
    logql = LineQuery(contains=texts).logql('{function_id="fn-x"}')

    assert logql.startswith('{function_id="fn-x"}')
    quoted = re.compile(r'"(?:[^"\\]|\\.)*"')
    assert len(quoted.findall(logql)) == 1 + len(texts)
    assert '"' not in quoted.sub("", logql)
    if not any(re.search(r"[\\\x00-\x1f\x7f]", text) for text in texts):
        assert line_query(logql) == LineQuery(texts, [], "fn-x")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1767225600", datetime(2026, 1, 1, tzinfo=UTC)),
        ("1767225600.5", datetime(2026, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)),
        ("1767225600123", datetime(2026, 1, 1, 0, 0, 0, 123_000, tzinfo=UTC)),
        ("1767225600123456789", datetime(2026, 1, 1, 0, 0, 0, 123_456, tzinfo=UTC)),
        ("2026-01-01T00:00:00Z", datetime(2026, 1, 1, tzinfo=UTC)),
        ("2026-01-01T09:00:00.25+09:00", datetime(2026, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC)),
        ("2025-12-31T23:30-00:30", datetime(2026, 1, 1, tzinfo=UTC)),
        ("2026-02-31T00:00:00Z", datetime(2026, 3, 3, tzinfo=UTC)),
    ],
)
def test_times(text: str, expected: datetime) -> None:
    assert re.fullmatch(TIME, text)
    assert time_of(text) == expected


@given(st.from_regex(TIME, fullmatch=True))
def test_every_time_that_validates_is_a_time(text: str) -> None:
    assert time_of(text).tzinfo is UTC


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01T00:00:00Z", "12345678901", "2026-01-01"])
def test_what_is_no_time(text: str) -> None:
    assert not re.fullmatch(TIME, text)
