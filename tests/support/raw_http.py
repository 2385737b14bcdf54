"""HTTP/1.1 byte for byte, for requests that no client library would send."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol


class Listening(Protocol):
    host: str
    port: int


class RawClient:
    """A connection whose every byte is the test's."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: str | bytes) -> None:
        """Sends it; what the server has closed already is not missed."""
        self.writer.write(data.encode() if isinstance(data, str) else data)

    async def answer(self, timeout_s: float = 10.0, *, to_head: bool = False) -> bytes:
        """The next answer: up to its content-length, to its last chunk, or until the server closes the connection."""
        async with asyncio.timeout(timeout_s):
            head = await self.reader.readuntil(b"\r\n\r\n")
            if to_head or head[9:12] in (b"100", b"204", b"304"):
                return head
            length = re.search(rb"\r\ncontent-length: (\d+)\r\n", head)
            if length:
                return head + await self.reader.readexactly(int(length[1]))
            if b"\r\ntransfer-encoding: chunked\r\n" in head:
                return head + await self.reader.readuntil(b"0\r\n\r\n")
            return head + await self.reader.read(-1)

    async def rest(self, timeout_s: float = 10.0, *, until: bytes = b"") -> bytes:
        """Everything until the server closes, or resets, the connection, or has just said `until`."""
        received = bytearray()
        async with asyncio.timeout(timeout_s):
            try:
                while piece := await self.reader.read(65536):
                    received += piece
                    if until and received.endswith(until):
                        break
            except ConnectionError:
                pass
        return bytes(received)

    async def last_answer(self) -> bytes:
        """The next answer, after which the server must have nothing more to say."""
        answer = await self.answer()
        self.end()
        more = await self.rest()
        assert not more, more
        return answer

    def end(self) -> None:
        """Says that no more is sent; a server that has reset the connection already is not told."""
        with suppress(OSError):
            self.writer.write_eof()

    def reset(self) -> None:
        """Goes away at once, without a goodbye."""
        self.writer.transport.abort()


@asynccontextmanager
async def raw_client(server: Listening, source: str = "") -> AsyncIterator[RawClient]:
    """A connection to the server; `source` is the address that it comes from (127.0.0.0/8 are all this machine)."""
    local = (source, 0) if source else None
    reader, writer = await asyncio.open_connection(server.host, server.port, local_addr=local)
    try:
        yield RawClient(reader, writer)
    finally:
        writer.transport.abort()


async def raw_exchange(server: Listening, request: str | bytes, timeout_s: float = 5.0) -> bytes:
    """The answer to one request: up to its content-length, or until the server closes the connection."""
    async with raw_client(server) as client:
        client.send(request)
        async with asyncio.timeout(timeout_s):
            head = await client.reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"\r\ncontent-length: (\d+)\r\n", head)
            return head + (await client.reader.readexactly(int(length[1])) if length else await client.reader.read(-1))


def parsed_error(answer: bytes) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Status, headers and JSON of an answer that is an error of the mesh."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(status.split()[1]), headers, json.loads(body)
