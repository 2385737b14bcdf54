"""What a running build tells, gathered for a moment and written as numbered events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from build_svc.domain import SPANS, BuildState, LogLine, Progress, Spans, Stage, log_text, percent_of
from build_svc.hints import Hints
from build_svc.store import BuildStore
from mesh import telemetry
from mesh.cancellation import to_its_end

FLUSH_S = 0.1
LINES_MAX = 20_000
LINE_BYTES_ALL_MAX = 4 * 2**20
_WAITING_MAX = 500


class BuildJournal:
    """The journal of one claim of a build, which `publishes` what it makes or not. Raises LeaseLost where the claim is
    lost."""

    def __init__(self, store: BuildStore, hints: Hints, build_uid: str, owner: str, *, publishes: bool = False) -> None:
        self._store = store
        self._hints = hints
        self._uid = build_uid
        self._owner = owner
        self._publishes = publishes
        self._stage = Stage.UNPACK
        self._spans = SPANS
        self._percent = 0
        self._waiting: list[Progress | LogLine] = []
        self._lines = 0
        self._line_bytes = 0
        self._writing = asyncio.Lock()
        self._any = asyncio.Event()

    def plan(self, spans: Spans) -> None:
        self._spans = spans

    @asynccontextmanager
    async def stage(self, stage: Stage) -> AsyncIterator[None]:
        self._stage = stage
        self._add(Progress(stage, max(self._percent, self._percent_of(stage))))
        await self.flush()
        if stage in (Stage.PUSH, Stage.PUBLISH):
            await self._store.move(self._uid, self._owner, BuildState.PUSHING)
            self._hints.changed(self._uid)
        with telemetry.span(f"build {stage.lower()}"):
            yield
        await self.progress(1.0)

    async def progress(self, done: float) -> None:
        percent = self._percent_of(self._stage, done)
        if percent > self._percent:
            self._add(Progress(self._stage, percent))

    async def line(self, raw: bytes | str) -> None:
        if self._lines >= LINES_MAX or self._line_bytes >= LINE_BYTES_ALL_MAX:
            return
        text = log_text(raw)
        self._lines += 1
        self._line_bytes += len(text.encode())
        if self._lines == LINES_MAX:
            text = f"(more than {LINES_MAX} lines; the rest is left out)"
        elif self._line_bytes >= LINE_BYTES_ALL_MAX:
            text = f"(more than {LINE_BYTES_ALL_MAX // 2**20} MiB of lines; the rest is left out)"
        self._add(LogLine(self._stage, text))
        if len(self._waiting) >= _WAITING_MAX:
            await self.flush()  # the writer of the lines waits, so they cannot pile up

    async def flush(self) -> None:
        """Write what was told so far. Begun, it ends, or a cancelled caller would take the lines along."""
        async with self._writing:
            writing, self._waiting = self._waiting, []
            self._any.clear()
            if writing:
                await to_its_end(self._store.record(self._uid, self._owner, writing))
                self._hints.changed(self._uid)

    async def run(self) -> None:
        """Write what is told within a tenth of a second, until cancelled."""
        while True:
            await self._any.wait()
            await asyncio.sleep(FLUSH_S)
            await self.flush()

    def _percent_of(self, stage: Stage, done: float = 0.0) -> int:
        """Of a build that publishes, all that comes before has the first nine tenths."""
        percent = percent_of(stage, done, self._spans)
        return percent * 9 // 10 if self._publishes and stage is not Stage.PUBLISH else percent

    def _add(self, happening: Progress | LogLine) -> None:
        if isinstance(happening, Progress):
            self._percent = max(self._percent, happening.percent)
        self._waiting.append(happening)
        self._any.set()
