"""Services that a nursery (`cli.up.nursery`) forks: asked for here, watched and waited for as `up`'s own children.

For each one: its command line as JSON, with the descriptor of its log; the answer `{"pid": N}`; GO, once it is known
here. Where any of that fails, the service is started as any other program is.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

from cli.up.nursery import GO

_PR_SET_CHILD_SUBREAPER = 36
_ANSWER_S = 30.0
_MESSAGE_BYTES = 4096


class Forked:
    """A child that this process did not start itself, with what of `asyncio.subprocess.Process` is used of it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = asyncio.Event()
        self._fd = os.pidfd_open(pid)
        asyncio.get_running_loop().add_reader(self._fd, self._reap)

    async def wait(self) -> int:
        """Its exit status, once it has ended; negative for a signal."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        ended = os.waitid(os.P_PIDFD, self._fd, os.WEXITED)
        os.close(self._fd)
        assert ended is not None
        self.returncode = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        self._ended.set()


class Nursery:
    """Where services are forked, for those that it knows."""

    def __init__(self, asks: socket.socket, services: Iterable[str]) -> None:
        self._asks = asks
        self._services = frozenset(services)
        self._one_by_one = asyncio.Lock()

    async def fork(self, argv: list[str], log: int) -> Forked | None:
        """A service, begun; None where it has to be started otherwise."""
        if argv[1:2] != ["-m"] or argv[2] not in self._services:
            return None
        loop = asyncio.get_running_loop()
        try:
            async with self._one_by_one, asyncio.timeout(_ANSWER_S):
                socket.send_fds(self._asks, [json.dumps(argv).encode()], [log])
                answer = await loop.sock_recv(self._asks, _MESSAGE_BYTES)
                forked = Forked(json.loads(answer)["pid"])
                self._asks.send(GO)
                return forked
        except (OSError, TimeoutError, ValueError):
            self._give_up()
            return None
        except asyncio.CancelledError:
            self._give_up()
            raise

    def _give_up(self) -> None:
        """Forks no more, and lets who is waiting for GO end."""
        self._services = frozenset()
        with contextlib.suppress(OSError):
            self._asks.shutdown(socket.SHUT_RDWR)


@asynccontextmanager
async def nursery(
    services: Sequence[str], environ: Mapping[str, str], also: Sequence[str] = ()
) -> AsyncIterator[Nursery | None]:
    """A nursery of these modules that imports what they do, and `also` others, for as long as the context lasts; None
    on systems that have not what it takes.

    Meanwhile orphans of this process's children become its own.
    """
    if sys.platform != "linux" or not _adopts(True):
        yield None
        return
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        ours.setblocking(False)
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "cli.up.nursery", str(theirs.fileno()), str(os.getpid()), *also,
                *(f"{service}.__main__" for service in services),
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
                env=environ, pass_fds=(theirs.fileno(),), start_new_session=True,
            )  # fmt: skip
        try:
            yield Nursery(ours, services)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            _adopts(False)


def _adopts(wanted: bool) -> bool:
    """Whether this process is now (or is no more) the parent of its children's orphans."""
    return hasattr(os, "pidfd_open") and ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0) == 0
