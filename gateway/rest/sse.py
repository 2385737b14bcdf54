"""Server-sent events: what happens, as it happens, and a heartbeat while nothing does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from fastapi.responses import StreamingResponse

from mesh.errors import MeshError, Unavailable

HEARTBEAT_S = 15.0
_AHEAD = 100
_HEARTBEAT = b": heartbeat\n\n"


def event(data: str, *, name: str = "", number: int | str = "") -> bytes:
    """One event. `number` is what a client sends back as Last-Event-ID."""
    head = (f"id: {number}\n" if number else "") + (f"event: {name}\n" if name else "")
    return (head + "".join(f"data: {line}\n" for line in data.split("\n")) + "\n").encode()


def streamed(events: AsyncIterator[bytes], *, heartbeat_s: float = HEARTBEAT_S) -> StreamingResponse:
    """The answer that sends events until there are no more, or the caller goes away."""
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_with_heartbeats(events, heartbeat_s), media_type="text/event-stream", headers=headers)


async def _with_heartbeats(events: AsyncIterator[bytes], heartbeat_s: float) -> AsyncIterator[bytes]:
    ahead: asyncio.Queue[bytes | None] = asyncio.Queue(_AHEAD)
    yield _HEARTBEAT  # so that the caller has the head at once
    async with asyncio.TaskGroup() as tasks:
        pumping = tasks.create_task(_pump(events, ahead))
        try:
            while True:
                try:
                    async with asyncio.timeout(heartbeat_s):
                        one = await ahead.get()
                except TimeoutError:
                    yield _HEARTBEAT
                    continue
                if one is None:
                    return
                yield one
        finally:
            pumping.cancel()


async def _pump(events: AsyncIterator[bytes], ahead: asyncio.Queue[bytes | None]) -> None:
    try:
        async for one in events:
            await ahead.put(one)
    except Unavailable:
        pass  # the stream has reached its age, or its service restarts: the caller connects again and goes on
    except MeshError as error:
        body = {"detail": error.message, "code": error.code.name, "reason": error.reason}
        await ahead.put(event(json.dumps(body), name="error"))
    await ahead.put(None)
