"""Server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, MutableMapping
from typing import Any

from gateway.rest.sse import EventStream, Source, event
from mesh.errors import NotFound, Unavailable

HEARTBEAT = b": heartbeat\n\n"


class Caller:
    """Takes what is sent; `enough` is set when so many parts have come."""

    def __init__(self, parts: int = 1000) -> None:
        self.head: MutableMapping[str, Any] = {}
        self.parts: list[bytes] = []
        self.ended = False
        self.enough = asyncio.Event()
        self._wanted = parts

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.head = message
            return
        self.ended = not message["more_body"]
        if not self.ended:
            self.parts.append(message["body"])
        if len(self.parts) >= self._wanted:
            self.enough.set()


async def whole(source: Source) -> list[bytes]:
    """All that is sent of a source that ends."""
    caller = Caller()
    await EventStream(source).stream_response(caller.send)
    assert caller.ended and caller.head["status"] == 200
    assert (b"content-type", b"text/event-stream; charset=utf-8") in caller.head["headers"]
    return caller.parts


async def cut_off(source: Source, parts: int, heartbeat_s: float = 60) -> list[bytes]:
    """What is sent to a caller that goes away after so many parts."""
    caller = Caller(parts)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(EventStream(source, heartbeat_s=heartbeat_s).stream_response(caller.send))
        await caller.enough.wait()
        sending.cancel()
    return caller.parts


def test_an_event_says_its_number_and_name() -> None:
    assert event("a\nb", name="line", number=7) == b"id: 7\nevent: line\ndata: a\ndata: b\n\n"
    assert event("") == b"data: \n\n"


async def test_events_then_the_end() -> None:
    async def source() -> AsyncGenerator[bytes, None]:
        for text in ("a", "b"):
            yield event(text)

    assert await whole(source()) == [HEARTBEAT, event("a"), event("b")]


async def test_while_nothing_happens_there_are_heartbeats_and_the_source_ends_with_its_caller() -> None:
    closed = asyncio.Event()

    async def source() -> AsyncGenerator[bytes, None]:
        try:
            yield event("a")
            await asyncio.Event().wait()
        finally:
            closed.set()

    assert (await cut_off(source(), 4, 0.01))[:4] == [HEARTBEAT, event("a"), HEARTBEAT, HEARTBEAT]
    assert closed.is_set()


async def test_an_error_is_told_but_not_that_the_stream_is_old() -> None:
    async def failing(error: Exception) -> AsyncGenerator[bytes, None]:
        yield event("a")
        raise error

    gone = await whole(failing(NotFound("FUNCTION_NOT_FOUND", "It is gone.")))
    aged = await whole(failing(Unavailable("STREAM_AGED", "Call again.")))

    told = b'event: error\ndata: {"detail": "It is gone.", "code": "NOT_FOUND", "reason": "FUNCTION_NOT_FOUND"}\n\n'
    assert gone == [HEARTBEAT, event("a"), told]
    assert aged == [HEARTBEAT, event("a")]
