"""How many bytes of bodies there may be at the same time."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.rest.middleware import Limited
from tests.support.errors_page import answers


class Call:
    """A request whose body arrives piece by piece, when the test says so."""

    def __init__(self, path: str = "/", kind: bytes = b"application/json") -> None:
        self.scope = {"type": "http", "method": "POST", "path": path, "headers": [(b"content-type", kind)]}
        self.pieces: asyncio.Queue[tuple[bytes, bool]] = asyncio.Queue()
        self.sent: list[Any] = []

    async def receive(self) -> dict[str, Any]:
        body, more = await self.pieces.get()
        return {"type": "http.request", "body": body, "more_body": more}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])


class Keeping:
    """An application that reads bodies whole, and is done with them when it is let go."""

    def __init__(self) -> None:
        self.read = asyncio.Semaphore(0)
        self.let_go = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass
        self.read.release()
        await self.let_go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})


async def test_what_does_not_fit_beside_the_others_is_refused_until_they_are_done() -> None:
    keeping = Keeping()
    limited = Limited(keeping, max_bytes=10, all_bytes=15, streamed=())
    first, second, third = Call(), Call(), Call()

    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        for call in (first, second, third):
            call.pieces.put_nowait((b"x" * 10, False))
        tasks.create_task(limited(first.scope, first.receive, first.send))
        await keeping.read.acquire()
        await limited(second.scope, second.receive, second.send)
        keeping.let_go.set()
    await limited(third.scope, third.receive, third.send)

    assert [call.status for call in (first, second, third)] == [200, 503, 200]
    headers = dict(second.sent[0]["headers"])
    assert headers[b"retry-after"] == b"1"
    told = answers("Control calls and keys")["many large bodies over REST at once, 256 MiB in all"]
    assert told.encode() in second.sent[1]["body"]


async def test_who_sends_nothing_is_not_refused() -> None:
    keeping = Keeping()
    limited = Limited(keeping, max_bytes=10, all_bytes=5, streamed=())
    call = Call()
    call.pieces.put_nowait((b"", False))
    keeping.let_go.set()

    await limited(call.scope, call.receive, call.send)

    assert call.status == 200


async def test_forms_are_for_who_streams_them() -> None:
    keeping = Keeping()
    keeping.let_go.set()
    limited = Limited(keeping, max_bytes=10, all_bytes=10, streamed={"/streamed"})
    calls = [Call(path, b"multipart/form-data; boundary=x") for path in ("/streamed", "/other")]
    for call in calls:
        call.pieces.put_nowait((b"x" * 20, False))

        await limited(call.scope, call.receive, call.send)

    assert [call.status for call in calls] == [200, 413]
