"""What commands print: tables for people, proto3 JSON for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.message import Message
    from google.protobuf.timestamp_pb2 import Timestamp
    from rich.console import Console


def to_json(message: Message) -> Any:
    """A message as proto3 JSON, every field without presence shown, so that its shape is always the same."""
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(message, always_print_fields_with_no_presence=True)


def print_json(value: Any, *, lines: bool = False) -> None:
    """Prints JSON: on one line where it is one of many."""
    print(json.dumps(value, indent=None if lines else 2, ensure_ascii=False), flush=lines)


def print_messages(field: str, messages: Iterable[Message]) -> None:
    """Prints `{field: [...]}`."""
    print_json({field: [to_json(message) for message in messages]})


def console(*, stderr: bool = False) -> Console:
    """A terminal, or whatever stdout is."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else 10_000)


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints columns as wide as what is in them; states in colour where stdout is a terminal."""
    lines = [list(headings), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for number, line in enumerate(lines):
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        cells[-1] = line[-1]
        if coloured:
            cells = [_coloured(cell, "bold" if number == 0 else "") for cell in cells]
        print("  ".join(cells).rstrip())


def _coloured(cell: str, style: str) -> str:
    code = _CODES.get(style or _STYLES.get(cell.split(" ", 1)[0], ""))
    return f"\x1b[{code}m{cell}\x1b[0m" if code else cell


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Prints a name and a value a line; those without a value are left out."""
    shown = [(name, value) for name, value in facts if value]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        print(f"{name:<{width}}  {value}")


def word(enum: Any, number: int, prefix: str) -> str:
    """`ready` of DEPLOYMENT_STATE_READY; `-` where nothing is said."""
    name = str(enum.Name(number)).removeprefix(prefix).lower()
    return "-" if name == "unspecified" else name


def ago(when: Timestamp) -> str:
    """`3 min ago`."""
    if not when.seconds:
        return "-"
    seconds = max(0.0, datetime.now().timestamp() - when.ToMicroseconds() / 1e6)
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def clock(when: Timestamp) -> str:
    """`2026-01-31 12:00:00.123`, in local time."""
    if not when.seconds:
        return "-"
    local = datetime.fromtimestamp(when.ToMicroseconds() / 1e6)
    return local.isoformat(sep=" ", timespec="milliseconds")


def span(duration: Duration) -> str:
    """`420 ms`."""
    from fnmesh.client.units import show_duration

    return show_duration(duration.ToNanoseconds() / 1e9)


def between(start: Timestamp, end: Timestamp) -> str:
    """How long it took from one time to another; `-` where one is not known."""
    from fnmesh.client.units import show_duration

    if not start.seconds or not end.seconds:
        return "-"
    return show_duration((end.ToMicroseconds() - start.ToMicroseconds()) / 1e6)


_STYLES = {
    "ready": "green", "done": "green", "ok": "green", "built": "green",
    "failed": "red", "degraded": "yellow", "starting": "yellow", "building": "yellow", "pending": "yellow",
    "missing": "red", "no": "yellow", "later": "yellow", "revoked": "red",
}  # fmt: skip
_CODES = {"bold": "1", "red": "31", "green": "32", "yellow": "33"}
