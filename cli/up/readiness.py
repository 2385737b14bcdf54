"""Waiting for things to answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from cli.up.listen import Listen

_POLL_S = 0.02


async def until(condition: Callable[[], Awaitable[bool]], limit_s: float) -> bool:
    """Whether the condition came true in time; it is asked again and again."""
    try:
        async with asyncio.timeout(limit_s):
            while not await condition():  # noqa: ASYNC110 -- what is asked is another process
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        return False
    return True


def may_listen(address: str) -> bool:
    """Whether asking a server is worth the trouble: not where its socket is not even there."""
    return not address.startswith("unix:") or Path(address.removeprefix("unix:")).exists()


async def answers_http(listen: Listen) -> bool:
    """Whether GET /health is answered with 200."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host)  # noqa: S104
    try:
        async with asyncio.timeout(2.0):
            reader, writer = await asyncio.open_connection(host, listen.port)
            try:
                writer.write(
                    f"GET /health HTTP/1.1\r\nHost: localhost:{listen.port}\r\nConnection: close\r\n\r\n".encode()
                )
                await writer.drain()
                status = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return b" 200 " in status
