"""Collects what instances write and stores it in batches, so that a line can be read well within a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from deploy_svc.domain import Instance, LogLine, LogStream, Target
from deploy_svc.frames import ParsedLine, believable, parse_line
from deploy_svc.log_store import LogStore
from deploy_svc.ports import Written
from deploy_svc.wakes import Wakes
from mesh.clock import Clock
from mesh.errors import MeshError
from mesh.logs import get_logger
from mesh.loops import Backoff

log = get_logger(__name__)
_FLUSH_S = 0.1
_BUFFERED_LINES, _BUFFERED_CHARS = 5000, 8 << 20
_LINES_PER_S, _CHARS_PER_S = 20_000, 16 << 20  # of one instance: a noisy one must not keep the others waiting
_FLOOD_LINES, _FLOOD_CHARS = 10_000, 8 << 20  # of all, since they were trimmed
_FINISH_S = 3.0
_LAST_WORDS_S = 1.0
_LAST_WORDS_CHARS = 500
_HEAP_FULL = "JavaScript heap out of memory"
_BACKOFF = Backoff(first_s=0.2, limit_s=5.0)


class LogCollector:
    """A reader for each live instance, and one writer for all."""

    def __init__(
        self,
        store: LogStore,
        drivers: Mapping[Target, Written],
        wakes: Wakes,
        clock: Clock,
        stored: Callable[[Sequence[LogLine]], None] | None = None,
    ) -> None:
        self._store = store
        self._drivers = drivers
        self._wakes = wakes
        self._clock = clock
        self._stored = stored
        self._tasks: asyncio.TaskGroup | None = None
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._last: dict[str, str] = {}
        self._heap_full: set[str] = set()
        self._lines: list[LogLine] = []
        self._chars = 0
        self._untrimmed = [0, 0]
        self._positions: dict[str, int] = {}
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._flushing = asyncio.Lock()
        self.grown: set[str] = set()
        self.flooded = asyncio.Event()

    async def run(self) -> None:
        """Read and store until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                await self._write()
            finally:
                self._tasks = None
                await self.flush()

    async def _write(self) -> None:
        failures = 0
        while True:
            await self._filled.wait()
            await asyncio.sleep(_FLUSH_S)
            try:
                await self.flush()
                failures = 0
            except Exception as error:
                failures += 1
                log.exception("logs_not_stored", error)
                await asyncio.sleep(_BACKOFF.delay_s(failures))

    def follow(self, instance: Instance) -> None:
        """Read the output of an instance from where its reading stopped."""
        if self._tasks is None or instance.uid in self._readers:
            return
        self._readers[instance.uid] = self._tasks.create_task(self._read(instance))

    def say(self, instance: Instance, text: str) -> None:
        """Add a line of the platform itself about an instance."""
        self._add(_line(instance, text, self._clock))

    async def last_words(self, instance: str) -> str:
        """The last line that an ended instance wrote, as far as it can be had quickly; empty without one."""
        reader = self._readers.get(instance)
        if reader is not None:
            await asyncio.wait({reader}, timeout=_LAST_WORDS_S)
        return self._last.get(instance, "")

    async def heap_was_full(self, instance: str) -> bool:
        """Whether an ended instance said that its heap was full: V8 aborts then, and only its output says why."""
        await self.last_words(instance)
        return instance in self._heap_full

    async def finish(self, instance: str) -> None:
        """The instance has ended: read what is left of its output, and store it."""
        reader = self._readers.pop(instance, None)
        self._last.pop(instance, None)
        self._heap_full.discard(instance)
        if reader is not None:
            await asyncio.wait({reader}, timeout=_FINISH_S)
            reader.cancel()
        await self.flush()

    async def flush(self) -> None:
        """Store what has been read."""
        async with self._flushing:
            lines, positions = self._lines, self._positions
            chars, self._chars = self._chars, 0
            self._lines, self._positions = [], {}
            self._filled.clear()
            if not lines and not positions:
                return
            try:
                self.grown |= await self._store.append(lines, positions)
            except BaseException:
                self._lines, self._positions = lines + self._lines, positions | self._positions
                self._chars += chars
                self._filled.set()
                raise
            self._room.set()
            if self._stored is not None:
                self._stored(lines)
            self._count(len(lines), chars)
            self._wakes.notify()

    async def _read(self, instance: Instance) -> None:
        position, failures = instance.log_position, 0
        while True:
            try:
                async for lines in self._drivers[instance.target].output(instance.uid, position):
                    now, before = self._clock.now(), self._chars
                    for line in lines:
                        parsed = parse_line(line.text, line.stream)
                        self._add(_parsed_line(instance, parsed, line.written_at, now))
                        position = line.position
                    self._positions[instance.uid] = position
                    failures = 0
                    pause_s = max(len(lines) / _LINES_PER_S, (self._chars - before) / _CHARS_PER_S)
                    await asyncio.sleep(pause_s)
                    await self._room.wait()
                return
            except Exception as error:
                failures += 1
                if isinstance(error, MeshError | OSError):
                    log.warning("output_not_read", instance=instance.uid, error=str(error))
                else:
                    log.exception("output_not_read", error, instance=instance.uid)
                await asyncio.sleep(_BACKOFF.delay_s(failures))

    def _count(self, lines: int, chars: int) -> None:
        """Have the logs trimmed before their turn where much has come since they were."""
        self._untrimmed = [self._untrimmed[0] + lines, self._untrimmed[1] + chars]
        if self._untrimmed[0] > _FLOOD_LINES or self._untrimmed[1] > _FLOOD_CHARS:
            self._untrimmed = [0, 0]
            self.flooded.set()

    def _add(self, line: LogLine) -> None:
        self._lines.append(line)
        self._chars += len(line.text)
        if line.stream is not LogStream.SYSTEM and line.text.strip():
            self._last[line.instance] = line.text.strip()[:_LAST_WORDS_CHARS]
            if _HEAP_FULL in line.text:
                self._heap_full.add(line.instance)
        self._filled.set()
        if len(self._lines) >= _BUFFERED_LINES or self._chars >= _BUFFERED_CHARS:
            self._room.clear()


def _parsed_line(instance: Instance, parsed: ParsedLine, read_at: datetime | None, now: datetime) -> LogLine:
    told = parsed.written_at if parsed.written_at and believable(parsed.written_at, now) else None
    return LogLine(
        function_uid=instance.function_uid,
        instance=instance.uid,
        revision=instance.revision,
        written_at=told or read_at or now,
        stream=parsed.stream,
        text=parsed.text,
        trace_id=parsed.trace_id,
    )


def _line(instance: Instance, text: str, clock: Clock) -> LogLine:
    return LogLine(
        function_uid=instance.function_uid,
        instance=instance.uid,
        revision=instance.revision,
        written_at=clock.now(),
        stream=LogStream.SYSTEM,
        text=text,
    )
