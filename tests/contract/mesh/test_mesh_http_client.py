"""Calls of HTTP servers that are no part of the mesh."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mesh.errors import Unavailable
from mesh.http_client import HttpAnswer, HttpServer
from tests.support.ports import free_port

OK = b"HTTP/1.1 200 OK\r\n"


@asynccontextmanager
async def answering(*parts: bytes, hang: bool = False) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that reads a head, sends these parts, and ends the connection; its port, and what it read."""
    read: list[bytes] = []
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        read.append(await reader.readuntil(b"\r\n\r\n"))
        for part in parts:
            writer.write(part)
            await writer.drain()
        if hang:
            await ended.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", read
    finally:
        ended.set()
        server.close()
        await server.wait_closed()


async def call(*parts: bytes, max_bytes: int = 1000) -> HttpAnswer:
    async with answering(*parts) as (address, _):
        return await HttpServer(f"http://{address}", max_bytes=max_bytes).call("/x", timeout_s=10)


@pytest.mark.parametrize(
    "parts",
    [
        (OK + b"Content-Length: 5\r\n\r\nhello",),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n", b"2\r\nlo\r\n0\r\n\r\n"),
        (OK + b"Content-Type: text/plain\r\n\r\nhel", b"lo"),
        (OK + b"Content-Le", b"ngth: 5\r\n\r\nh", b"ello"),
    ],
)
async def test_bodies_however_they_end(parts: tuple[bytes, ...]) -> None:
    answer = await call(*parts)

    assert (answer.status, answer.body) == (200, b"hello")


async def test_what_is_sent() -> None:
    async with answering(b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n") as (address, read):
        server = HttpServer(f"http://me:se%40cret@{address}/base/")
        answer = await server.call("/push?x=1", b"{}", "application/json", timeout_s=10)

    assert (answer.status, answer.body, answer.headers["x-a"]) == (204, b"", "b")
    head = read[0].decode()
    assert head.startswith("POST /base/push?x=1 HTTP/1.1\r\n")
    assert "Authorization: Basic bWU6c2VAY3JldA==\r\n" in head
    assert "Content-Length: 2\r\n" in head and f"Host: {address}\r\n" in head
    assert "cret" not in server.name


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (OK + b"Content-Length: 50\r\n\r\nhello", "does not answer"),
        (b"", "does not answer"),
        (b"SSH-2.0-OpenSSH\r\n", "does not answer"),
        (OK + b"Content-Length: 2000\r\n\r\n" + b"x" * 2000, "answered more than"),
    ],
)
async def test_what_is_no_answer(part: bytes, why: str) -> None:
    with pytest.raises(Unavailable, match=why):
        await call(part)


@pytest.mark.parametrize("part", [b"X-A: b\r\n" * 8192, b"x" * 65_536])
async def test_headers_without_an_end(part: bytes) -> None:
    with pytest.raises(Unavailable, match="more than 1 MiB of headers") as raised:
        await call(OK + b"X-B: ", *[part] * 100)

    assert raised.value.reason == "ANSWER_TOO_LARGE"


async def test_nobody_there_and_nobody_answers() -> None:
    with pytest.raises(Unavailable, match="does not answer at 127"):
        await HttpServer(f"http://127.0.0.1:{free_port()}").call("/", timeout_s=10)
    async with answering(OK, hang=True) as (address, _):
        with pytest.raises(Unavailable, match=r"did not answer within 0\.1 s"):
            await HttpServer(f"http://{address}").call("/", timeout_s=0.1)
