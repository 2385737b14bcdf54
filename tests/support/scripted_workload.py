"""A workload that does to the byte what a test says, over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tests.support.accepting import end_accepting


@dataclass
class Heard:
    """A request as a workload heard it."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    connection: int
    reader: asyncio.StreamReader

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key == name]
        return "|".join(values) if values else None


Script = Callable[[Heard, asyncio.StreamWriter], Awaitable[None]]


class Workload:
    """A workload that does to the byte what a test says."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.heard: list[Heard] = []
        self.connections = 0
        self.open = 0
        self.gone = 0
        self.tasks: set[asyncio.Task[Any]] = set()
        self.early = False

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """For `asyncio.start_server`. No coroutine: one that is cancelled before it begins would close nothing."""
        self.connections += 1
        self.open += 1
        task = asyncio.create_task(self._serve(reader, writer, self.connections))
        self.tasks.add(task)

        def over(_: object) -> None:
            writer.close()
            self.tasks.discard(task)
            self.open -= 1

        task.add_done_callback(over)

    async def stop(self, server: asyncio.Server) -> None:
        """Ends its server and all connections."""
        await end_accepting(server)
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await asyncio.sleep(0)  # for `over`, and what closes a connection after it

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        try:
            while True:
                heard = await self._read(reader, number)
                self.heard.append(heard)
                await self.script(heard, writer)
                await writer.drain()
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            self.gone += 1
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _read(self, reader: asyncio.StreamReader, number: int) -> Heard:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = head[:-4].split("\r\n")
        method, target, version = line.split(" ")
        assert version == "HTTP/1.1"
        headers = [(name.lower(), value) for name, _, value in (one.partition(": ") for one in lines)]
        heard = Heard(method, target, headers, b"", number, reader)
        if self.early:
            return heard
        if heard.header("transfer-encoding") == "chunked":
            while size := int((await reader.readline()).strip(), 16):
                heard.body += await reader.readexactly(size)
                await reader.readexactly(2)
            await reader.readexactly(2)
        else:
            heard.body = await reader.readexactly(int(heard.header("content-length") or 0))
        return heard


def says(*lines: str, body: bytes = b"") -> bytes:
    """An answer of a workload with a content-length."""
    return "\r\n".join((*lines, f"content-length: {len(body)}", "", "")).encode() + body


def always(answer: bytes) -> Script:
    async def script(heard: Heard, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    return script
