"""Which lines a caller asks for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from deploy_svc.log_store import LineFilter
from fnmesh.deploy.v1 import deploy_service_pb2 as pb
from mesh.errors import InvalidArgument

_TRACE_ID = re.compile(r"[0-9a-f]{32}")
_TEXTS, _TEXT_CHARS = 10, 1000


def to_line_filter(request: pb.ReadLogsRequest) -> LineFilter:
    """The lines that a request wants. Raises InvalidArgument."""
    trace = request.trace_id.lower()
    if trace and not _TRACE_ID.fullmatch(trace):
        raise _wrong("trace_id", "trace_id has 32 hex digits.")
    return LineFilter(
        trace_id=trace,
        start=_time(request, "start_time"),
        end=_time(request, "end_time"),
        contains=_texts("contains", request.contains),
        lacks=_texts("lacks", request.lacks),
    )


def _time(request: pb.ReadLogsRequest, field: str) -> datetime | None:
    if not request.HasField(field):  # type: ignore[arg-type]
        return None
    try:
        at: datetime = getattr(request, field).ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise _wrong(field, f"{field} is no time.") from None
    return at


def _texts(field: str, texts: Sequence[str]) -> tuple[str, ...]:
    if len(texts) > _TEXTS or any(len(text) > _TEXT_CHARS for text in texts):
        raise _wrong(field, f"{field} has at most {_TEXTS} texts of at most {_TEXT_CHARS:,} characters.")
    return tuple(text.replace("\0", "\N{SYMBOL FOR NULL}") for text in texts if text)  # as lines are kept


def _wrong(field: str, message: str) -> InvalidArgument:
    return InvalidArgument(f"{field.upper()}_INVALID", message, fields={field: message})
