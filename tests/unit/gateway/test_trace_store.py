"""Spans in memory, the tree made of them, and how many traces are taken."""

from __future__ import annotations

import pytest
from opentelemetry.proto.trace.v1 import trace_pb2

from gateway.envoy.admin import AdminError
from gateway.telemetry.sampling import Pace, SamplingLoop, share_for
from gateway.telemetry.store import MAX_SPANS_OF_TRACE, StoredSpan, TraceStore
from gateway.telemetry.tree import trace_of
from mesh.clock import FakeClock


def span(span_id: int, parent: int = 0, start: int = 0, **fields: object) -> StoredSpan:
    body = trace_pb2.Span(
        trace_id=b"t" * 16,
        span_id=span_id.to_bytes(8, "big"),
        parent_span_id=parent.to_bytes(8, "big") if parent else b"",
        start_time_unix_nano=start,
        end_time_unix_nano=start + 5,
        name=f"s{span_id}",
    )
    for key, value in fields.items():
        attribute = body.attributes.add(key=key)
        if isinstance(value, bool):
            attribute.value.bool_value = value
        elif isinstance(value, int):
            attribute.value.int_value = value
        else:
            attribute.value.string_value = str(value)
    return StoredSpan("svc", body.SerializeToString())


def names(*spans: StoredSpan) -> list[str]:
    return [one.display_name for one in trace_of("t" * 32, spans).spans]


def test_parents_come_before_children_otherwise_by_time() -> None:
    assert names(span(4, 2, 40), span(3, 1, 20), span(2, 1, 30), span(1, 0, 10)) == ["s1", "s3", "s2", "s4"]


def test_a_span_whose_parent_is_missing_is_a_root_and_a_ring_is_no_trap() -> None:
    assert names(span(2, 9, 20), span(1, 0, 10)) == ["s1", "s2"]
    assert sorted(names(span(1, 2), span(2, 1), span(3, 3))) == ["s1", "s2", "s3"]


def test_a_span_that_came_twice_is_shown_once() -> None:
    assert names(span(1), span(1)) == ["s1"]


def test_attributes_are_text() -> None:
    (one,) = trace_of("t" * 32, [span(1, yes=True, count=3, text="x")]).spans
    assert dict(one.attributes) == {"yes": "true", "count": "3", "text": "x"}
    assert (one.service, one.span_id, one.duration.nanos) == ("svc", "0000000000000001", 5)


def test_the_oldest_trace_goes_first() -> None:
    clock = FakeClock()
    store = TraceStore(max_spans=3, max_age_s=10, clock=clock)
    for number in range(5):
        store.add([(bytes([number]) * 16, span(number + 1))])
        clock.advance(1)
    assert [bool(store.get(bytes([number]) * 16)) for number in range(5)] == [False, False, True, True, True]
    clock.advance(10)
    assert store.get(b"\x04" * 16) == []
    assert len(store) == 0


def test_a_trace_has_a_limit() -> None:
    store = TraceStore()
    assert store.add([(b"t" * 16, span(1))] * (MAX_SPANS_OF_TRACE + 7)) == 7


async def test_a_settled_trace_is_answered_at_once() -> None:
    clock = FakeClock()
    store = TraceStore(clock=clock, settle_s=1)
    store.add([(b"t" * 16, span(1))])
    clock.advance(1)
    assert len(await store.settled(b"t" * 16)) == 1


@pytest.mark.parametrize(("pace", "share"), [(0, 1.0), (50, 1.0), (100, 0.5), (5_000, 0.01), (1_000_000, 0.01)])
def test_the_share_falls_with_the_load(pace: float, share: float) -> None:
    assert share_for(pace, rate=50, least=0.01) == share


def test_the_pace_begins_anew_when_envoy_does() -> None:
    pace = Pace()
    assert pace.step(1000, 10) == 0
    assert pace.step(1100, 12) == 50
    assert pace.step(10, 13) == 0
    assert pace.step(20, 14) == 10


async def test_the_share_is_sent_when_it_changes() -> None:
    clock, sent, totals = FakeClock(), list[float](), [0, 10, 1010, 2030, 2040]

    async def count() -> int:
        if not totals:
            raise AdminError("gone")
        return totals.pop(0)

    loop = SamplingLoop(count, sent.append, rate=50, least=0.01, clock=clock)
    for _ in range(6):
        await loop.step()
        clock.advance(1)
    assert sent == [1.0, 0.05, 1.0]


async def test_without_a_rate_nobody_is_asked() -> None:
    """As where Envoy is on another machine, and its admin interface out of reach."""
    sent = list[float]()

    async def count() -> int:
        raise AssertionError("asked")

    await SamplingLoop(count, sent.append, rate=0, least=0.05).step()
    assert sent == [0.05]
