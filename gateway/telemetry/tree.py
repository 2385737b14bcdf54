"""A trace as a tree: parents before children, otherwise by start time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from fnmesh.trace.v1 import trace_service_pb2 as pb
from gateway.telemetry.store import StoredSpan


def trace_of(trace_id: str, stored: Iterable[StoredSpan]) -> pb.Trace:
    """The spans of one trace as the API shows them. A span that came twice is shown once.

    A span whose parent is not there (not sent yet, or the caller's own) stands as a root, its parent's id kept.
    """
    spans: dict[bytes, tuple[str, trace_pb2.Span]] = {}
    for one in stored:
        span = trace_pb2.Span.FromString(one.body)
        spans[span.span_id] = (one.service, span)
    trace = pb.Trace(name=f"traces/{trace_id}")
    for service, span in _in_order(list(spans.values())):
        trace.spans.append(_shown(service, span))
    return trace


def _in_order(spans: Sequence[tuple[str, trace_pb2.Span]]) -> Iterator[tuple[str, trace_pb2.Span]]:
    ids = {span.span_id for _, span in spans}
    children: defaultdict[bytes, list[tuple[str, trace_pb2.Span]]] = defaultdict(list)
    for entry in sorted(spans, key=lambda entry: entry[1].start_time_unix_nano):
        parent = entry[1].parent_span_id
        children[parent if parent in ids and parent != entry[1].span_id else b""].append(entry)
    shown: set[bytes] = set()
    for root in [*children[b""], *spans]:  # the second half only matters for spans that form a ring
        stack = [root]
        while stack:
            entry = stack.pop()
            span_id = entry[1].span_id
            if span_id in shown:
                continue
            shown.add(span_id)
            yield entry
            stack.extend(reversed(children[span_id]))


def _shown(service: str, span: trace_pb2.Span) -> pb.Span:
    shown = pb.Span(
        span_id=span.span_id.hex(),
        parent_span_id=span.parent_span_id.hex(),
        display_name=span.name,
        service=service,
        attributes={attribute.key: _text(attribute.value) for attribute in span.attributes},
    )
    shown.start_time.FromNanoseconds(span.start_time_unix_nano)
    shown.duration.FromNanoseconds(max(0, span.end_time_unix_nano - span.start_time_unix_nano))
    if span.status.code == trace_pb2.Status.STATUS_CODE_ERROR:
        shown.error = span.status.message or "error"
    return shown


def _text(value: common_pb2.AnyValue) -> str:
    kind = value.WhichOneof("value")
    if kind is None:
        return ""
    if kind == "array_value":
        return ", ".join(_text(one) for one in value.array_value.values)
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    return str(getattr(value, kind))
