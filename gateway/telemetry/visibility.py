"""Which spans of a trace a key may read that is bound to a workspace."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from opentelemetry.proto.trace.v1 import trace_pb2

from gateway.telemetry.store import StoredSpan
from mesh.telemetry import WORKSPACE


def of_workspace(workspace: str, stored: Iterable[StoredSpan]) -> list[StoredSpan]:
    """The spans that belong to a workspace, in the order given.

    A span belongs to the workspace it names, else to that of the nearest span above it which names one. What is
    above all of those (Envoy's span, say) belongs to it where everything that it led to does. So whoever sends a
    `traceparent` of somebody else's trace sees only what their own request added to it.
    """
    spans = list(stored)
    parsed = [trace_pb2.Span.FromString(one.body) for one in spans]
    named = {span.span_id: _named(span) for span in parsed}
    parents = {span.span_id: span.parent_span_id for span in parsed}
    below = _below(named, parents)
    return [
        one
        for one, span in zip(spans, parsed, strict=True)
        if (_named(span) or _above(span.span_id, named, parents) or _only(below[span.span_id])) == workspace
    ]


def _named(span: trace_pb2.Span) -> str:
    return next((one.value.string_value for one in span.attributes if one.key == WORKSPACE), "")


def _above(span_id: bytes, named: dict[bytes, str], parents: dict[bytes, bytes]) -> str:
    """The workspace that the span or the nearest above it names; notes it down for those on the way."""
    way: list[bytes] = []
    seen: set[bytes] = set()
    while span_id in named and span_id not in seen and not named[span_id]:
        way.append(span_id)
        seen.add(span_id)
        span_id = parents[span_id]
    found = named.get(span_id, "")
    if found:
        named.update(dict.fromkeys(way, found))
    return found


def _below(named: dict[bytes, str], parents: dict[bytes, bytes]) -> defaultdict[bytes, set[str]]:
    """For each span that names none, the workspaces named first below it."""
    below: defaultdict[bytes, set[str]] = defaultdict(set)
    for span_id, workspace in named.items():
        above = parents[span_id]
        while workspace and above in named and not named[above] and workspace not in below[above]:
            below[above].add(workspace)
            above = parents[above]
    return below


def _only(workspaces: set[str]) -> str:
    return next(iter(workspaces)) if len(workspaces) == 1 else ""
