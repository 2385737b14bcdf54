"""The lines of the runtime servers: framed ones say when, where and in which request they were written."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from deploy_svc.domain import LogStream

FRAME = 0x1E
TEXT_BYTES = 64 * 1024
_OLDEST, _NEWEST = timedelta(days=1), timedelta(seconds=5)  # output is read late where the mesh was down
_TRACE = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class ParsedLine:
    """What a line of output says; `written_at` None where it does not."""

    text: str
    stream: LogStream
    trace_id: str = ""
    written_at: datetime | None = None


def believable(written_at: datetime, now: datetime) -> bool:
    """Whether a frame may have been written then. The workload may write anything; lines are kept by their age."""
    return now - _OLDEST <= written_at <= now + _NEWEST


def parse_line(line: bytes, stream: LogStream | None = None) -> ParsedLine:
    """The line, framed or plain. A frame that makes no sense is plain text: the workload may write anything."""
    fallback = stream or LogStream.STDOUT
    if line[:1] == b"\x1e":
        framed = _frame(line, fallback)
        if framed is not None:
            return framed
    return ParsedLine(clip(line.decode("utf-8", "replace")), fallback)


def _frame(line: bytes, fallback: LogStream) -> ParsedLine | None:
    try:
        fields = json.loads(line[1:])
        text, trace = fields["m"], fields.get("trace", "")
        written_at = datetime.fromtimestamp(fields["t"], UTC)
    except (ValueError, TypeError, KeyError, OverflowError, OSError, RecursionError, AttributeError):
        return None
    if not isinstance(text, str):
        return None
    known = {"stdout": LogStream.STDOUT, "stderr": LogStream.STDERR}
    stream = known.get(fields.get("s", ""), fallback) if isinstance(fields.get("s", ""), str) else fallback
    valid = isinstance(trace, str) and _TRACE.fullmatch(trace)
    return ParsedLine(clip(text), stream, trace if valid else "", written_at)


def clip(text: str) -> str:
    """At most 64 KiB of UTF-8; lone surrogates, which no database takes, are replaced."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) > TEXT_BYTES:
        encoded = encoded[:TEXT_BYTES]
    return encoded.decode("utf-8", "ignore")
