"""No connection is left open that comes while a server of a test ends."""

from __future__ import annotations

import asyncio
import gc
import socket
import warnings

import pytest

from tests.support.accepting import end_accepting


class _Known(asyncio.Protocol):
    """A connection that its server knows."""

    def __init__(self, known: list[asyncio.BaseTransport]) -> None:
        self._known = known

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._known.append(transport)


@pytest.mark.parametrize("turns", range(6))
async def test_who_comes_while_it_ends_is_known_or_refused(turns: int) -> None:
    known: list[asyncio.BaseTransport] = []
    server = await asyncio.get_running_loop().create_server(lambda: _Known(known), "127.0.0.1", 0)
    with warnings.catch_warnings(record=True) as told, socket.create_connection(server.sockets[0].getsockname()):
        warnings.simplefilter("always")
        for _ in range(turns):
            await asyncio.sleep(0)

        await end_accepting(server)

        for transport in known:
            transport.close()
        for _ in range(3):
            await asyncio.sleep(0)
        gc.collect()
    assert [str(one.message) for one in told] == []
    assert len(known) == (turns > 1)  # in the first it is not accepted yet
