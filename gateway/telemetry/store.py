"""Spans in memory, bounded by number and age. They are a help in finding out, not a record: a restart loses them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from mesh.clock import Clock, SystemClock

MAX_SPANS_OF_TRACE = 5_000


@dataclass(frozen=True)
class StoredSpan:
    """A span as it came (a serialised `opentelemetry.proto.trace.v1.Span`) and the service that sent it."""

    service: str
    body: bytes


@dataclass
class _Trace:
    spans: list[StoredSpan] = field(default_factory=list)
    began: float = 0.0
    changed: float = 0.0


class TraceStore:
    """The newest traces. Ages are in seconds; the oldest trace goes first when there are too many spans."""

    def __init__(
        self,
        *,
        max_spans: int = 50_000,
        max_age_s: float = 3600.0,
        settle_s: float = 1.0,
        clock: Clock | None = None,
    ) -> None:
        self._traces: OrderedDict[bytes, _Trace] = OrderedDict()
        self._spans = 0
        self._max_spans = max_spans
        self._max_age_s = max_age_s
        self._settle_s = settle_s
        self._clock = clock or SystemClock()

    def __len__(self) -> int:
        """How many spans there are."""
        return self._spans

    def add(self, spans: Iterable[tuple[bytes, StoredSpan]]) -> int:
        """Keeps spans by their trace id; returns how many were turned away because their trace is full."""
        now = self._clock.monotonic()
        refused = 0
        for trace_id, span in spans:
            trace = self._traces.get(trace_id)
            if trace is None:
                trace = self._traces[trace_id] = _Trace(began=now)
            if len(trace.spans) >= MAX_SPANS_OF_TRACE:
                refused += 1
                continue
            trace.spans.append(span)
            trace.changed = now
            self._spans += 1
        self._forget(now)
        return refused

    def get(self, trace_id: bytes) -> list[StoredSpan]:
        """The spans that have come so far; empty where there are none."""
        self._forget(self._clock.monotonic())
        trace = self._traces.get(trace_id)
        return list(trace.spans) if trace else []

    async def settled(self, trace_id: bytes, limit_s: float = 3.0) -> list[StoredSpan]:
        """The spans, once none has come for `settle_s`: exporters send in batches, so the last ones come late.

        Waits at most `limit_s`, and for a trace of which nothing is there at all `settle_s`.
        """
        began = self._clock.monotonic()
        while True:
            now = self._clock.monotonic()
            trace = self._traces.get(trace_id)
            quiet_since = trace.changed if trace else began
            left = min(quiet_since + self._settle_s, began + limit_s) - now
            if left <= 0:
                return self.get(trace_id)
            await asyncio.sleep(min(left, 0.1))

    def _forget(self, now: float) -> None:
        while self._traces:
            trace_id, oldest = next(iter(self._traces.items()))
            if self._spans <= self._max_spans and now - oldest.began <= self._max_age_s:
                return
            self._spans -= len(oldest.spans)
            del self._traces[trace_id]
