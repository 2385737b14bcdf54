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
_POLL_S = 0.1
_IDLE_ROUNDS = 3


@dataclass(eq=False, slots=True)
class _Reader:
    fd: int
    position: int
    grown: asyncio.Event = field(default_factory=asyncio.Event)


class OutputFiles:
    """Follows any number of files with one timer.

    A file that has been read to its end is cut once it has `cut_bytes`; of more than `behind_bytes` that nobody
    has read yet, all but the last is dropped.
    """

    def __init__(self, *, cut_bytes: int = 8 << 20, behind_bytes: int = 64 << 20) -> None:
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
        lines: list[OutputLine] = []
        if size - reader.position > self._behind_bytes:
            lost = size - reader.position - _READ_BYTES
            reader.position += lost
            text = f"{lost} bytes of output came faster than they can be stored, and were dropped.".encode()
            lines.append(OutputLine(text, reader.position, LogStream.SYSTEM))
        block = os.pread(reader.fd, _READ_BYTES, reader.position)
        start = 0
        while start < len(block):
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
