"""Envoy's admin interface, over its socket: the two calls that an orderly stop needs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

_ANSWER_S = 2.0


async def admin_call(socket: Path, method: str, path: str) -> bytes:
    """The body of an answer of Envoy's admin interface. Raises OSError or TimeoutError."""
    async with asyncio.timeout(_ANSWER_S):
        reader, writer = await asyncio.open_unix_connection(str(socket))
        try:
            request = f"{method} {path} HTTP/1.1\r\nHost: envoy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            writer.write(request.encode())
            await writer.drain()
            raw = await reader.read()
        finally:
            writer.close()
    return raw.partition(b"\r\n\r\n")[2]


async def stop_listening(socket: Path) -> None:
    """Envoy closes its listeners; requests under way go on."""
    await admin_call(socket, "POST", "/drain_listeners")


async def requests_under_way(socket: Path) -> int:
    """How many requests Envoy still works on, its admin's own aside."""
    body = await admin_call(socket, "GET", "/stats?filter=downstream_rq_active&format=json")
    start = body.find(b"{")
    stats = json.loads(body[start : body.rfind(b"}") + 1]).get("stats", [])
    return sum(int(stat.get("value", 0)) for stat in stats if not str(stat.get("name", "")).startswith("http.admin"))
