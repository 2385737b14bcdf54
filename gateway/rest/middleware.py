"""What every REST call passes through: its trace, whether its key is good, and the limit of its body."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from gateway.rest import problems
from mesh import telemetry
from mesh.auth import AUTHORIZATION_KEY, Authenticator
from mesh.errors import MeshError, ResourceExhausted, Unavailable

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Traced:
    """Makes the trace that Envoy began the one that the call and the RPCs it makes are in."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        metadata = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        telemetry.enter(telemetry.extract(metadata))
        with telemetry.span(f"rest {scope['method']}", **{"url.path": scope["path"]}):
            await self._app(scope, receive, send)


_READS = ("GET", "HEAD", "OPTIONS")
_DRAINED_BYTES = 64 * 1024 * 1024
_DRAIN_S = 30.0


class Authenticated:
    """Refuses who has no good key before anything of a body is read: nothing is held for them. What the holder of a key
    may do is for the services to say. What has no body is for them too.
    """

    def __init__(self, app: App, *, auth: Authenticator) -> None:
        self._app = app
        self._auth = auth

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _READS:
            headers = dict(scope["headers"])
            key = headers.get(AUTHORIZATION_KEY.encode(), b"").decode("latin-1")
            try:
                await self._auth.authenticate([(AUTHORIZATION_KEY, key)], internal=False)
            except MeshError as error:
                if b"expect" not in headers:
                    await _drain(receive)
                await problems.rendered(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class _Refused(Exception):
    """The body is not read any further."""


class Limited:
    """Refuses bodies over a limit (413), and what does not fit beside the others that are held now (503). Forms that
    are sent to one of `streamed` are counted by who reads them as they come.
    """

    def __init__(self, app: App, *, max_bytes: int, all_bytes: int, streamed: Collection[str]) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._all_bytes = all_bytes
        self._streamed = streamed
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", ()))
        is_form = headers.get(b"content-type", b"").startswith(b"multipart/")
        if scope["type"] != "http" or (is_form and scope["path"] in self._streamed):
            await self._app(scope, receive, send)
            return
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_bytes:
            if b"expect" not in headers:  # who expects to be asked for it has sent nothing yet
                await _drain(receive)
            await problems.rendered(self._too_large())(scope, receive, send)
            return
        refusal: MeshError | None = None
        begun, more, seen = False, True, 0

        async def counted() -> Message:
            nonlocal refusal, more, seen
            message = await receive()
            more = bool(message.get("more_body"))
            size = len(message.get("body", b""))
            seen += size
            self._held += size
            if seen > self._max_bytes:
                refusal = self._too_large()
            elif size and self._held > self._all_bytes:
                refusal = _busy()
            if refusal is not None:
                raise _Refused
            return message

        async def noted(message: Message) -> None:
            nonlocal begun
            if refusal is not None and not begun:
                return  # what the application makes of the exception
            begun = True
            await send(message)

        try:
            with contextlib.suppress(_Refused):
                await self._app(scope, counted, noted)
        finally:
            self._held -= seen
        if refusal is not None and not begun:
            if more:
                await _drain(receive)
            await problems.rendered(refusal)(scope, receive, send)

    def _too_large(self) -> MeshError:
        limit = f"{self._max_bytes // 2**20} MiB"
        message = f"The body is larger than {limit}; send less, or upload code with `fnmesh deploy`."
        return ResourceExhausted("BODY_TOO_LARGE", message)


def _busy() -> MeshError:
    return Unavailable("BODIES_TOO_MANY", "The gateway is busy with other large bodies; try again in a moment.")


async def _drain(receive: Receive) -> None:
    """Takes the rest of a body and drops it, or most callers would find a closed connection and not the answer."""
    left = _DRAINED_BYTES
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body"):
                    return
