"""Lines out of the pipes that a script writes to, both together and bounded: who prints too fast has to wait."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from deploy_svc.scripts.ports import LINE_BYTES, ScriptLine

_QUEUED = 1000
_AT_ONCE = 500
_LAST_S = 2.0


class Pipes:
    """Two pipes. `writers` are for the script; they are closed here once it has them. To be closed when all is over."""

    def __init__(self) -> None:
        self._readers: list[int] = []
        self.writers: list[int] = []
        for _ in range(2):
            reader, writer = os.pipe()
            self._readers.append(reader)
            self.writers.append(writer)
        self._lines: asyncio.Queue[ScriptLine | None] = asyncio.Queue(_QUEUED)

    def close_writers(self) -> None:
        """Lets go of the script's ends, so that its end is the end of the pipes."""
        while self.writers:
            os.close(self.writers.pop())

    def close(self) -> None:
        """Lets go of all ends; nobody may be reading any more."""
        self.close_writers()
        while self._readers:
            os.close(self._readers.pop())

    @asynccontextmanager
    async def reading(self, ended: asyncio.Event) -> AsyncIterator[None]:
        """Reads for as long as the context lasts; what comes after `ended` only for a moment."""
        async with asyncio.TaskGroup() as tasks:
            readers = [tasks.create_task(self._read(fd, stderr=number == 1)) for number, fd in enumerate(self._readers)]
            ending = tasks.create_task(self._end(ended, readers))
            try:
                yield
            finally:
                for task in (*readers, ending):
                    task.cancel()

    async def lines(self) -> AsyncIterator[Sequence[ScriptLine]]:
        """Lines as they come, several at once; ends with the pipes."""
        over = False
        while not over:
            line = await self._lines.get()
            batch = []
            while line is not None:
                batch.append(line)
                if len(batch) >= _AT_ONCE or self._lines.empty():
                    break
                line = self._lines.get_nowait()
            over = line is None
            if batch:
                yield batch

    async def _end(self, ended: asyncio.Event, readers: Sequence[asyncio.Task[None]]) -> None:
        await ended.wait()
        await asyncio.wait(readers, timeout=_LAST_S)
        for reader in readers:
            reader.cancel()
        await self._lines.put(None)

    async def _read(self, fd: int, *, stderr: bool) -> None:
        os.set_blocking(fd, False)
        rest = b""
        try:
            while block := await _block(fd):
                *whole, rest = (rest + block).split(b"\n")
                if len(rest) >= LINE_BYTES:
                    whole, rest = [*whole, rest], b""
                for text in whole:
                    await self._put(stderr, text)
        finally:
            if rest:
                with contextlib.suppress(asyncio.QueueFull):
                    self._lines.put_nowait(ScriptLine(stderr, rest, datetime.now(UTC)))

    async def _put(self, stderr: bool, text: bytes) -> None:
        await self._lines.put(ScriptLine(stderr, text.removesuffix(b"\r"), datetime.now(UTC)))


async def _block(fd: int) -> bytes:
    """The next bytes; none at the end.

    Not by a transport of the loop's: uvloop's closes the descriptor of a pipe twice, and another thread may have been
    given its number in between (github.com/MagicStack/uvloop/issues/763).
    """
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    while True:
        loop.add_reader(fd, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(fd)
        with contextlib.suppress(BlockingIOError):
            return os.read(fd, LINE_BYTES)
        readable.clear()
