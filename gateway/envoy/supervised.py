"""Envoy as the child of a process that knows how to stop it: for containers, where SIGTERM is all that is said.

SIGTERM ends Envoy at once and breaks what it is doing. Here it begins a drain: clients are asked to go elsewhere,
new ones are still served while load balancers have not heard of it, and Envoy ends when nothing is under way.
Needs nothing but Python and Envoy.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.envoy import admin

_POLL_S = 0.2


@dataclass(frozen=True)
class Drain:
    """How long a stop takes: at least `settle_s`, in which clients find another Envoy, and at most `limit_s`."""

    settle_s: float
    limit_s: float


async def run(command: Sequence[str], socket: Path, drain: Drain) -> int:
    """Runs Envoy until it ends, or until SIGTERM or SIGINT and a drain; the exit code for this process.

    A second signal ends it at once.
    """
    stopping = asyncio.Event()
    hurry = asyncio.Event()

    def stop() -> None:
        (hurry if stopping.is_set() else stopping).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    envoy = await asyncio.create_subprocess_exec(*command)
    async with asyncio.TaskGroup() as tasks:
        ended = tasks.create_task(envoy.wait())
        told = tasks.create_task(stopping.wait())
        await asyncio.wait({ended, told}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            finished = tasks.create_task(_drained(socket, drain))
            hurried = tasks.create_task(hurry.wait())
            await asyncio.wait({ended, finished, hurried}, return_when=asyncio.FIRST_COMPLETED)
            for task in (finished, hurried):
                task.cancel()
            if not ended.done():
                envoy.terminate()
                await ended
        told.cancel()
    code = ended.result()
    return 0 if stopping.is_set() and code in (0, -signal.SIGTERM) else (code if code >= 0 else 128 - code)


async def _drained(socket: Path, drain: Drain) -> None:
    """Returns when Envoy may be ended."""
    try:
        await admin.drain(socket)
        async with asyncio.timeout(drain.limit_s):
            await asyncio.sleep(min(drain.settle_s, drain.limit_s))
            while await admin.active_requests(socket) > 0:  # noqa: ASYNC110 -- what is asked is another process
                await asyncio.sleep(_POLL_S)
    except (admin.AdminError, TimeoutError):
        return
