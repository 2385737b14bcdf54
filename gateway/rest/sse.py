"""Server-sent events: what happens, as it happens, and a heartbeat while nothing does."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from typing import Any

from fastapi.responses import StreamingResponse

from mesh.errors import MeshError, Unavailable

HEARTBEAT_S = 15.0
_AHEAD = 100
_HEARTBEAT = b": heartbeat\n\n"
Source = AsyncGenerator[bytes, None]


def event(data: str, *, name: str = "", number: int | str = "") -> bytes:
    """One event. `number` is what a client sends back as Last-Event-ID."""
    head = (f"id: {number}\n" if number else "") + (f"event: {name}\n" if name else "")
    return (head + "".join(f"data: {line}\n" for line in data.split("\n")) + "\n").encode()


class EventStream(StreamingResponse):
    """The answer that sends events until there are no more, or the caller goes away; their source is closed then."""

    media_type = "text/event-stream"

    def __init__(self, events: Source, *, heartbeat_s: float = HEARTBEAT_S) -> None:
        super().__init__(events, headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        self._events = events
        self._heartbeat_s = heartbeat_s

    async def stream_response(self, send: Callable[[MutableMapping[str, Any]], Awaitable[None]]) -> None:
        """Sends it; a heartbeat first, so that the caller has the head at once."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        ahead: asyncio.Queue[bytes | None] = asyncio.Queue(_AHEAD)
        async with asyncio.TaskGroup() as tasks:
            pumping = tasks.create_task(_pump(self._events, ahead))
            try:
                part: bytes | None = _HEARTBEAT
                while part is not None:
                    await send({"type": "http.response.body", "body": part, "more_body": True})
                    part = await self._next(ahead)
            finally:
                pumping.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _next(self, ahead: asyncio.Queue[bytes | None]) -> bytes | None:
        try:
            async with asyncio.timeout(self._heartbeat_s):
                return await ahead.get()
        except TimeoutError:
            return _HEARTBEAT


async def _pump(events: Source, ahead: asyncio.Queue[bytes | None]) -> None:
    async with contextlib.aclosing(events):
        try:
            async for one in events:
                await ahead.put(one)
        except Unavailable:
            pass  # the stream has reached its age, or its service restarts: the caller connects again and goes on
        except MeshError as error:
            body = {"detail": error.message, "code": error.code.name, "reason": error.reason}
            await ahead.put(event(json.dumps(body), name="error"))
        await ahead.put(None)
