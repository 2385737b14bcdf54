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

from mesh.draining import Draining


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Says when it serves."""
        await super().startup(sockets)
        self.ready.set()

    def refuse(self) -> None:
        """Takes no new connections."""
        for server in self.servers:
            server.close()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the process's own business."""
        yield


class _Closing:
    """The application; once it drains, each answer is the last one of its connection."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.draining = Draining()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.draining.calls += 1

        async def send_on(message: Any) -> None:
            if message["type"] == "http.response.start" and self.draining.event.is_set():
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        await self._app(scope, receive, send_on)


@asynccontextmanager
async def serving(app: Any, address: str) -> AsyncIterator[None]:
    """Serves an ASGI application on `unix:/path` (mode 0600) or `ip:port`. Raises OSError if it cannot.

    On exit new connections are refused, so that Envoy makes them elsewhere, and those there are end with their next
    answer; once none is asked for any more, what is left is closed.
    """
    closing = _Closing(app)
    config = uvicorn.Config(
        closing,
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
                server.refuse()
                closing.draining.begin()
                await closing.draining.quiet(callers_stay=True)
                server.should_exit = True
    if failure is not None:
        raise failure


def _bound(address: str) -> socket.socket:
    is_unix = address.startswith("unix:")
    host, _, port = address.rpartition(":")
    family = socket.AF_UNIX if is_unix else socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.ExitStack() as stack:
        bound = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
        if is_unix:
            path = Path(address.removeprefix("unix:"))
            path.unlink(missing_ok=True)
            bound.bind(str(path))
            path.chmod(0o600)
        else:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((host.strip("[]"), int(port)))
        stack.pop_all()
    return bound
