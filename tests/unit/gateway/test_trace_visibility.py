"""What of a trace a key sees that is bound to a workspace."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1 import trace_pb2

from gateway.telemetry.store import StoredSpan
from gateway.telemetry.visibility import of_workspace
from mesh.telemetry import WORKSPACE


def span(number: int, parent: int = 0, workspace: str = "") -> StoredSpan:
    one = trace_pb2.Span(trace_id=b"t" * 16, span_id=_id(number), parent_span_id=_id(parent) if parent else b"")
    if workspace:
        one.attributes.add(key=WORKSPACE).value.string_value = workspace
    return StoredSpan("svc", one.SerializeToString())


def seen(workspace: str, *spans: StoredSpan) -> list[int]:
    found = (trace_pb2.Span.FromString(one.body).span_id for one in of_workspace(workspace, spans))
    return [int.from_bytes(one, "big") for one in found]


def _id(number: int) -> bytes:
    return number.to_bytes(8, "big")


def test_a_request_is_seen_from_envoy_to_the_workload_by_its_own_workspace_only() -> None:
    request = [span(1), span(2, 1, "ws-a"), span(3, 2)]

    assert seen("ws-a", *request) == [1, 2, 3]
    assert seen("ws-b", *request) == []


def test_a_function_that_calls_one_of_another_workspace() -> None:
    request = [span(1), span(2, 1, "ws-a"), span(3, 2), span(4, 3), span(5, 4, "ws-b"), span(6, 5)]

    assert seen("ws-a", *request) == [1, 2, 3, 4]
    assert seen("ws-b", *request) == [5, 6]


def test_what_led_to_several_workspaces_is_seen_by_none_of_them() -> None:
    request = [span(1), span(2, 1), span(3, 2, "ws-a"), span(4, 1, "ws-b")]

    assert seen("ws-a", *request) == [2, 3]
    assert seen("ws-b", *request) == [4]


@pytest.mark.parametrize("parent", [0, 1, 2, 3, 99])
def test_joining_a_trace_of_others_shows_nothing_of_it(parent: int) -> None:
    theirs = [span(1), span(2, 1, "ws-a"), span(3, 2)]

    assert seen("ws-b", *theirs, span(7, parent, "ws-b")) == [7]


def test_spans_that_name_none_belong_to_none() -> None:
    assert seen("ws-a", span(1), span(2, 1)) == []
    assert seen("", span(1, 0, "ws-a")) == []


@given(
    st.lists(st.tuples(st.integers(1, 8), st.integers(0, 8), st.sampled_from(["", "", "ws-a", "ws-b"])), max_size=20)
)
def test_rings_and_repeated_spans_are_no_trap(given: list[tuple[int, int, str]]) -> None:
    spans = [span(*one) for one in given]

    assert all(b"ws-b" not in one.body for one in of_workspace("ws-a", spans))
    assert all(b"ws-a" not in one.body for one in of_workspace("ws-b", spans))
