"""The end of the REST facade's server: what is under way is answered, and nothing new comes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.rest.server import serving
from tests.support.eventually import eventually

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def test_a_connection_ends_with_its_next_answer_and_new_ones_are_refused(tmp_run_dir: Path) -> None:
    path = str(tmp_run_dir / "rest.sock")
    leave = asyncio.Event()

    async def serve() -> None:
        async with serving(app, f"unix:{path}"):
            await leave.wait()

    async def is_refused() -> bool:
        try:
            _, writer = await asyncio.open_unix_connection(path)
        except ConnectionRefusedError:
            return True
        writer.close()
        return False

    async with asyncio.TaskGroup() as tasks:
        server = tasks.create_task(serve())
        await eventually(lambda: Path(path).exists())
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(REQUEST)
        assert b"connection: close" not in await reader.readuntil(b"ok")
        leave.set()
        await eventually(is_refused, interval_s=0)
        assert not server.done()
        writer.write(REQUEST)
        answer = await reader.read()  # up to the end of the connection
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"ok")
        assert b"connection: close" in answer
        writer.close()


async def test_what_outlasts_the_stop_is_told_and_streams_of_events_end(
    tmp_run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.rest.server._PATIENCE_S", 1)
    path = str(tmp_run_dir / "rest.sock")
    leave, asked = asyncio.Event(), asyncio.Event()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/events":
            headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"event", "more_body": True})
        else:
            asked.set()
        await asyncio.Event().wait()

    async def serve() -> None:
        async with serving(endless, f"unix:{path}"):
            await leave.wait()

    async with asyncio.TaskGroup() as tasks:
        server = tasks.create_task(serve())
        await eventually(lambda: Path(path).exists())
        events, events_writer = await asyncio.open_unix_connection(path)
        events_writer.write(REQUEST.replace(b"/", b"/events", 1))
        await events.readuntil(b"event\r\n")
        call, call_writer = await asyncio.open_unix_connection(path)
        call_writer.write(REQUEST)
        await asked.wait()
        leave.set()
        assert await events.read() == b"0\r\n\r\n"
        assert not server.done()
        answer = await call.read()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b'"reason":"STOPPED"' in answer
        events_writer.close()
        call_writer.close()


@pytest.mark.parametrize("address", ["unix:/nowhere/at/all.sock", "192.0.2.1:1"])
async def test_a_place_it_cannot_have(address: str) -> None:
    with pytest.raises(OSError):
        async with serving(app, address):
            pass
