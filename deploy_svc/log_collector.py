"""Collects what instances write and stores it in batches, so that a line can be read well within a second."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from deploy_svc.domain import Instance, LogLine, LogStream, Target
from deploy_svc.frames import parse_line
from deploy_svc.log_store import LogStore
from deploy_svc.ports import Driver
from deploy_svc.wakes import Wakes
from mesh.clock import Clock
from mesh.errors import MeshError
from mesh.logs import get_logger
from mesh.loops import Backoff

log = get_logger(__name__)
_FLUSH_S = 0.1
_BUFFERED_LINES = 5000
_FINISH_S = 3.0
_LAST_WORDS_S = 1.0
_LAST_WORDS_CHARS = 500
_BACKOFF = Backoff(first_s=0.2, limit_s=5.0)


class LogCollector:
    """A reader for each live instance, and one writer for all."""

    def __init__(self, store: LogStore, drivers: Mapping[Target, Driver], wakes: Wakes, clock: Clock) -> None:
        self._store = store
        self._drivers = drivers
        self._wakes = wakes
        self._clock = clock
        self._tasks: asyncio.TaskGroup | None = None
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._last: dict[str, str] = {}
        self._lines: list[LogLine] = []
        self._positions: dict[str, int] = {}
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._flushing = asyncio.Lock()
        self.grown: set[str] = set()

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

    async def finish(self, instance: str) -> None:
        """The instance has ended: read what is left of its output, and store it."""
        reader = self._readers.pop(instance, None)
        self._last.pop(instance, None)
        if reader is not None:
            await asyncio.wait({reader}, timeout=_FINISH_S)
            reader.cancel()
        await self.flush()

    async def flush(self) -> None:
        """Store what has been read."""
        async with self._flushing:
            lines, positions = self._lines, self._positions
            self._lines, self._positions = [], {}
            self._filled.clear()
            if not lines and not positions:
                return
            try:
                self.grown |= await self._store.append(lines, positions)
            except BaseException:
                self._lines, self._positions = lines + self._lines, positions | self._positions
                self._filled.set()
                raise
            self._room.set()
            self._wakes.notify()

    async def _read(self, instance: Instance) -> None:
        position, failures = instance.log_position, 0
        while True:
            try:
                async for lines in self._drivers[instance.target].output(instance.uid, position):
                    for line in lines:
                        parsed = parse_line(line.text, line.stream)
                        self._add(
                            LogLine(
                                function_uid=instance.function_uid,
                                instance=instance.uid,
                                revision=instance.revision,
                                written_at=parsed.written_at or line.written_at or self._clock.now(),
                                stream=parsed.stream,
                                text=parsed.text,
                                trace_id=parsed.trace_id,
                            )
                        )
                        position = line.position
                    self._positions[instance.uid] = position
                    failures = 0
                    await self._room.wait()
                return
            except Exception as error:
                failures += 1
                if isinstance(error, MeshError | OSError):
                    log.warning("output_not_read", instance=instance.uid, error=str(error))
                else:
                    log.exception("output_not_read", error, instance=instance.uid)
                await asyncio.sleep(_BACKOFF.delay_s(failures))

    def _add(self, line: LogLine) -> None:
        self._lines.append(line)
        if line.stream is not LogStream.SYSTEM and line.text.strip():
            self._last[line.instance] = line.text.strip()[:_LAST_WORDS_CHARS]
        self._filled.set()
        if len(self._lines) >= _BUFFERED_LINES:
            self._room.clear()


def _line(instance: Instance, text: str, clock: Clock) -> LogLine:
    return LogLine(
        function_uid=instance.function_uid,
        instance=instance.uid,
        revision=instance.revision,
        written_at=clock.now(),
        stream=LogStream.SYSTEM,
        text=text,
    )
