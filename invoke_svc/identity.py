"""Identifiers of runs and traces, cheap enough for every request."""

from __future__ import annotations

import itertools
import random
import re
import secrets

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NO_TRACE = "0" * 32
_process = secrets.token_hex(5)
_count = itertools.count(secrets.randbits(16))


def new_run_uid(now: float) -> str:
    """30 hex digits: milliseconds since the epoch, a count, and the process; sorts by time."""
    return f"{int(now * 1000):012x}{next(_count) & 0xFFFFFFFF:08x}{_process}"


def read_traceparent(value: str) -> tuple[str, bool]:
    """Trace id and whether it is sampled, of a W3C traceparent; ("", False) where it is not one."""
    match = _TRACEPARENT.fullmatch(value)
    if match is None or value.startswith("ff") or match[1] == _NO_TRACE:
        return "", False
    return match[1], bool(int(match[3], 16) & 1)


def new_trace() -> tuple[str, str]:
    """A trace id and a traceparent (not sampled) for a request that came with none."""
    trace_id = f"{random.getrandbits(128) | 1:032x}"
    return trace_id, f"00-{trace_id}-{random.getrandbits(64) | 1:016x}-00"
