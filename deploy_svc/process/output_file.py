"""Reads what workloads append to their output files, line by line, and keeps the files small.

A workload's output goes to a file and not to a pipe, so that it survives a restart of the mesh. What has been
read is cut off when the file has grown large; what comes faster than it can be stored is dropped, and said so.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy_svc.domain import LogStream
from deploy_svc.ports import OutputLine

LINE_BYTES = 512 * 1024  # a frame of 64 KiB of text is longer, since its JSON is ASCII
_READ_BYTES = 1 << 20
_READ_LINES = 1000
_LAST_BYTES = 256 * 1024
_POLL_S = 0.1
_IDLE_ROUNDS = 3


@dataclass(eq=False, slots=True)
class _Reader:
    fd: int
    position: int
    grown: asyncio.Event = field(default_factory=asyncio.Event)


class OutputFiles:
    """Follows any number of files with one timer.

    A file that has been read to its end is cut once it has `cut_bytes`; one that grows to `behind_bytes` because the
    workload never stops to write is cut too, and all but the last of what nobody has read yet is dropped.
    """

    def __init__(self, *, cut_bytes: int = 8 << 20, behind_bytes: int = 16 << 20) -> None:
        self._cut_bytes, self._behind_bytes = cut_bytes, behind_bytes
        self._readers: set[_Reader] = set()

    async def run(self) -> None:
        """Wake the readers whose files have grown; until cancelled."""
        while True:
            for reader in self._readers:
                if os.fstat(reader.fd).st_size != reader.position:
                    reader.grown.set()
            await asyncio.sleep(_POLL_S)

    async def follow(self, path: Path, position: int, ended: Callable[[], bool]) -> AsyncIterator[Sequence[OutputLine]]:
        """Lines after `position`, as they come; ends when `ended` says so and all has been read."""
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        reader = _Reader(fd, min(position, os.fstat(fd).st_size))
        self._readers.add(reader)
        try:
            waited = 0
            while True:
                done = ended()  # asked before reading: what was written before the end is read
                lines = self._read(reader, flush=done or waited >= _IDLE_ROUNDS)
                if lines:
                    waited = 0
                    yield lines
                    continue
                if done:
                    return
                waited = waited + 1 if os.fstat(fd).st_size > reader.position else 0
                await _grown(reader, ended)
        finally:
            self._readers.discard(reader)
            os.close(fd)

    def _read(self, reader: _Reader, *, flush: bool) -> list[OutputLine]:
        size = os.fstat(reader.fd).st_size
        if size < reader.position:
            reader.position = 0
        if size > self._behind_bytes:
            return self._catch_up(reader, size)
        lines: list[OutputLine] = []
        block = os.pread(reader.fd, _READ_BYTES, reader.position)
        start = 0
        while start < len(block) and len(lines) < _READ_LINES:
            end = block.find(b"\n", start, start + LINE_BYTES)
            if end >= 0:
                text, after = block[start:end], end + 1
            elif len(block) - start >= LINE_BYTES:
                text, after = block[start : start + LINE_BYTES], start + LINE_BYTES
            elif flush:
                text, after = block[start:], len(block)
            else:
                break
            lines.append(OutputLine(text.removesuffix(b"\r"), reader.position + after))
            start = after
        reader.position += start
        if reader.position >= self._cut_bytes and os.fstat(reader.fd).st_size == reader.position:
            os.ftruncate(reader.fd, 0)  # the workload appends, so it goes on at the new end
            reader.position = 0
            if lines:
                lines[-1] = OutputLine(lines[-1].text, 0, lines[-1].stream, lines[-1].written_at)
        return lines

    def _catch_up(self, reader: _Reader, size: int) -> list[OutputLine]:
        """Cut a file that has become too large. The disk is everybody's, so what was not read in time is lost."""
        first = max(reader.position, size - _LAST_BYTES)
        lost = first - reader.position
        block = os.pread(reader.fd, _LAST_BYTES, first)
        block += os.pread(reader.fd, _READ_BYTES, first + len(block))  # what came since its size was asked for
        os.ftruncate(reader.fd, 0)  # the workload appends, so it goes on at the new end
        last = block.splitlines()
        reader.position = 0
        texts = [(text[:LINE_BYTES], None) for text in last[-_READ_LINES:]]
        if lost:
            said = f"{lost} bytes of output came faster than they can be stored, and were dropped."
            return [OutputLine(text, 0, stream) for text, stream in ((said.encode(), LogStream.SYSTEM), *texts)]
        return [OutputLine(text, 0, stream) for text, stream in texts]


async def _grown(reader: _Reader, ended: Callable[[], bool]) -> None:
    reader.grown.clear()
    size = os.fstat(reader.fd).st_size
    while not ended():
        try:
            async with asyncio.timeout(_POLL_S if size > reader.position else 5 * _POLL_S):
                await reader.grown.wait()
            return
        except TimeoutError:
            if size > reader.position:
                return
