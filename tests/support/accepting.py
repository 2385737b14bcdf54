"""The end of asyncio's servers in tests."""

from __future__ import annotations

import asyncio

_TURNS = 5  # of the loop, from a connection that is accepted to its protocol


async def end_accepting(server: asyncio.Server) -> None:
    """Closes a server, once whoever it has just accepted is a connection that can be closed, too.

    A connection that is accepted in the turn before `server.close()` is never made: Python drops its transport with an
    assertion that nobody sees, and whichever test collects it fails for the warning that it was not closed.
    """
    loop = asyncio.get_running_loop()
    for listening in server.sockets:
        loop.remove_reader(listening.fileno())
    for _ in range(_TURNS):
        await asyncio.sleep(0)
    server.close()
