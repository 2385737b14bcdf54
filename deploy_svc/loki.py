"""Sends log lines to a Loki: in batches, from a buffer that is bounded, for as long as it takes; nobody waits for it.

https://grafana.com/docs/loki/latest/reference/loki-http-api/ describes the API. Function, revision, instance and stream
are labels; the trace is structured metadata, for there are as many traces as requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from deploy_svc.domain import LogLine
from mesh.errors import Unavailable
from mesh.http_client import HttpAnswer, HttpServer
from mesh.logs import get_logger
from mesh.loops import Backoff
from mesh.settings import SettingsError

log = get_logger(__name__)
_BACKOFF = Backoff(first_s=0.5, limit_s=30.0)
_PUSH = "/loki/api/v1/push"
_LINGER_S = 0.5
_CALL_S = 10.0
_LAST_S = 1.0
_BATCH_BYTES, _BATCH_LINES = 512 * 1024, 5000
_LINE_BYTES = 200  # of a line, besides its text
_LONGEST_PAUSE_S = 30.0
_STREAMS = 5000
_NEAR_NS = 10**9
_REFUSED = frozenset({400, 413, 422})
"""What comes again with the same lines: they are left out."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Entry:
    labels: Labels
    at_ns: int
    text: str
    trace_id: str

    @property
    def size(self) -> int:
        return len(self.text) + _LINE_BYTES


class LokiPush:
    """The lines on their way. Over `buffer_bytes` the oldest are lost to Loki; the mesh has them still."""

    def __init__(self, server: HttpServer, *, buffer_bytes: int = 8 << 20, backoff: Backoff = _BACKOFF) -> None:
        self._server = server
        self._buffer_bytes = buffer_bytes
        self._backoff = backoff
        self._waiting: deque[_Entry] = deque()
        self._size = 0
        self._filled = asyncio.Event()
        self._last_ns: dict[Labels, int] = {}
        self._with_metadata = True
        self._trouble = False
        self.dropped = 0

    def add(self, lines: Sequence[LogLine]) -> None:
        """Has lines sent soon."""
        for line in lines:
            entry = self._entry(line)
            self._waiting.append(entry)
            self._size += entry.size
        while self._size > self._buffer_bytes and self._waiting:
            self._size -= self._waiting.popleft().size
            self.dropped += 1
        self._filled.set()

    async def run(self) -> None:
        """Send until cancelled; what is left then gets one last try."""
        batch: list[_Entry] = []
        try:
            while True:
                await self._filled.wait()
                await asyncio.sleep(_LINGER_S)
                while batch := self._take():
                    await self._send(batch)
        finally:
            with contextlib.suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(_LAST_S):
                    while batch := batch or self._take():
                        await self._push(batch)
                        batch = []

    async def _send(self, batch: Sequence[_Entry]) -> None:
        failures = 0
        while True:
            pause_s, why = 0.0, ""
            try:
                answer = await self._push(batch)
            except Unavailable as error:
                why = error.message
            else:
                if answer.status < 300:
                    self._told_of_trouble("")
                    return
                why = f"answered {answer.status}: {answer.body[:200].decode('utf-8', 'replace')}"
                if answer.status == 400 and b"structured metadata" in answer.body and self._with_metadata:
                    self._with_metadata = False  # an older Loki, or one that is told to take none
                    continue
                if answer.status in _REFUSED:
                    log.warning("loki_refused_lines", lines=len(batch), why=why)
                    return
                pause_s = _retry_after_s(answer)
            failures += 1
            self._told_of_trouble(why)
            await asyncio.sleep(min(_LONGEST_PAUSE_S, max(pause_s, self._backoff.delay_s(failures))))

    async def _push(self, batch: Sequence[_Entry]) -> HttpAnswer:
        streams: dict[Labels, list[list[object]]] = {}
        for one in batch:
            value: list[object] = [str(one.at_ns), one.text]
            if one.trace_id and self._with_metadata:
                value.append({"trace_id": one.trace_id})
            streams.setdefault(one.labels, []).append(value)
        body = {"streams": [{"stream": dict(labels), "values": values} for labels, values in streams.items()]}
        return await self._server.call(_PUSH, json.dumps(body).encode(), "application/json", timeout_s=_CALL_S)

    def _take(self) -> list[_Entry]:
        batch: list[_Entry] = []
        size = 0
        while self._waiting and len(batch) < _BATCH_LINES and size < _BATCH_BYTES:
            batch.append(self._waiting.popleft())
            size += batch[-1].size
        self._size -= size
        if not self._waiting:
            self._filled.clear()
        return batch

    def _entry(self, line: LogLine) -> _Entry:
        labels = (
            ("function_id", line.function_uid),
            ("instance", line.instance),
            ("job", "fnmesh"),
            ("revision", str(line.revision)),
            ("stream", str(line.stream)),
        )
        return _Entry(labels, self._time_ns(labels, line.written_at), line.text, line.trace_id)

    def _time_ns(self, labels: Labels, at: datetime) -> int:
        """When a line was written; a little later where that is not after the line before it in its stream.

        Loki keeps the same line of the same nanosecond once, and knows no other order of lines.
        """
        at_ns = (at - _EPOCH) // timedelta(microseconds=1) * 1000
        last_ns = self._last_ns.get(labels, 0)
        if last_ns - _NEAR_NS < at_ns <= last_ns:
            at_ns = last_ns + 1
        if len(self._last_ns) > _STREAMS:
            self._last_ns.clear()
        self._last_ns[labels] = at_ns
        return at_ns

    def _told_of_trouble(self, why: str) -> None:
        if why and not self._trouble:
            log.warning("loki_does_not_take_lines", why=why)
        elif not why and self._trouble:
            log.info("loki_takes_lines_again", dropped=self.dropped)
        self._trouble = bool(why)


def open_loki(url: str) -> LokiPush | None:
    """The sender to a Loki; None where there is none. Raises SettingsError."""
    try:
        return LokiPush(HttpServer(url)) if url else None
    except ValueError as error:
        raise SettingsError(f"FNMESH_LOKI_URL is wrong: {error}.") from None


def _retry_after_s(answer: HttpAnswer) -> float:
    told = answer.headers.get("retry-after", "")
    return float(told) if told.isascii() and told.isdecimal() and len(told) < 6 else 0.0
