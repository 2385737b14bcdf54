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

from gateway.rest import problems
from mesh.draining import Draining
from mesh.errors import Unavailable

_PATIENCE_S = 8  # a deploy over REST is answered after five at the latest; `up` waits 15 for the whole process


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
    """The application; once it drains, streams of events end, and each answer is the last one of its connection.

    What takes longer than the server waits for it is told so, where no answer was begun.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self.draining = Draining()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.draining.calls += 1
        request = asyncio.current_task()
        assert request is not None
        begun = False

        async def send_on(message: Any) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun, drains = True, self.draining.event.is_set()
                if _is_of_events(message):
                    self.draining.tasks.add(request)
                    if drains:
                        request.cancel()
                if drains:
                    message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        except asyncio.CancelledError:
            if request in self.draining.tasks:  # its reader connects again
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            elif self.draining.event.is_set() and not begun:
                await problems.rendered(_stopped())(scope, receive, send_on)
            else:
                raise
        finally:
            self.draining.tasks.discard(request)


def _is_of_events(start: Any) -> bool:
    return any(
        name == b"content-type" and value.startswith(b"text/event-stream") for name, value in start.get("headers", ())
    )


def _stopped() -> Unavailable:
    return Unavailable("STOPPED", "The gateway has stopped in the middle of the call; see what it did, and try again.")


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
        timeout_keep_alive=75,  # longer than Envoy keeps connections: who ends one must not be sent a request meanwhile
        timeout_graceful_shutdown=_PATIENCE_S,
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
