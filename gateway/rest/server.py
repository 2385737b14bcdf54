"""uvicorn within the gateway's own loop, on a socket for Envoy."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Says when it serves."""
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the process's own business."""
        yield


@asynccontextmanager
async def serving(app: Any, address: str) -> AsyncIterator[None]:
    """Serves an ASGI application on `unix:/path` (mode 0600) or `ip:port`. Raises OSError if it cannot."""
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=3,
    )
    server = _Server(config)
    failure: BaseException | None = None
    with contextlib.closing(_bound(address)) as bound:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.serve(sockets=[bound]))
            await server.ready.wait()
            try:
                yield
            except BaseException as error:  # also where it is cancelled the server closes its connections first
                failure = error
            finally:
                server.should_exit = True
    if failure is not None:
        raise failure


def _bound(address: str) -> socket.socket:
    if address.startswith("unix:"):
        path = Path(address.removeprefix("unix:"))
        path.unlink(missing_ok=True)
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        bound.bind(str(path))
        path.chmod(0o600)
        return bound
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((host.strip("[]"), int(port)))
    return bound
