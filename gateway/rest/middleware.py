"""What every REST call passes through: its trace, whether its key is good, and the limit of its body."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from gateway.rest import problems
from mesh import telemetry
from mesh.auth import AUTHORIZATION_KEY, Authenticator
from mesh.errors import MeshError

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


class _TooLarge(Exception):
    """The body is over the limit."""


class Limited:
    """Refuses bodies over a limit with 413. Forms that are sent to one of `streamed` are counted by who reads them as
    they come.
    """

    def __init__(self, app: App, *, max_bytes: int, streamed: Collection[str]) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._streamed = streamed

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
            await self._refuse(send)
            return
        begun, more, seen = False, True, 0

        async def counted() -> Message:
            nonlocal more, seen
            message = await receive()
            more = bool(message.get("more_body"))
            seen += len(message.get("body", b""))
            if seen > self._max_bytes:
                raise _TooLarge
            return message

        async def noted(message: Message) -> None:
            nonlocal begun
            if seen > self._max_bytes and not begun:
                return  # what the application makes of the exception
            begun = True
            await send(message)

        with contextlib.suppress(_TooLarge):
            await self._app(scope, counted, noted)
        if seen > self._max_bytes and not begun:
            if more:
                await _drain(receive)
            await self._refuse(send)

    async def _refuse(self, send: Send) -> None:
        limit = f"{self._max_bytes // 2**20} MiB"
        body = {
            "detail": f"The body is larger than {limit}; send less, or upload code with `fnmesh deploy`.",
            "code": "RESOURCE_EXHAUSTED",
            "reason": "BODY_TOO_LARGE",
            "trace_id": telemetry.current_trace_id(),
        }
        content = json.dumps(body).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": content})


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
