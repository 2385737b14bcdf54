"""HTTP/1.1 byte for byte, for requests that no client library would send."""

from __future__ import annotations

import asyncio
import re
from typing import Protocol


class Listening(Protocol):
    host: str
    port: int


async def raw_exchange(server: Listening, request: str | bytes, timeout_s: float = 5.0) -> bytes:
    """The answer: up to its content-length, or until the server closes the connection."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        writer.write(request.encode() if isinstance(request, str) else request)
        async with asyncio.timeout(timeout_s):
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"\r\ncontent-length: (\d+)\r\n", head)
            return head + (await reader.readexactly(int(length[1])) if length else await reader.read(-1))
    finally:
        writer.close()
        await writer.wait_closed()
