"""What every REST call passes through: its trace, and the limit of its body."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from mesh import telemetry

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


class _TooLarge(Exception):
    """The body is over the limit."""


class Limited:
    """Refuses bodies over a limit with 413; those of multipart uploads are counted where they are streamed on."""

    def __init__(self, app: App, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", ()))
        if scope["type"] != "http" or headers.get(b"content-type", b"").startswith(b"multipart/"):
            await self._app(scope, receive, send)
            return
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_bytes:
            await self._refuse(send)
            return
        begun = False
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max_bytes:
                raise _TooLarge
            return message

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, counted, noted)
        except _TooLarge:
            if begun:
                raise
            await self._refuse(send)

    async def _refuse(self, send: Send) -> None:
        body = {
            "detail": f"The body is larger than {self._max_bytes // 2**20} MiB.",
            "code": "RESOURCE_EXHAUSTED",
            "reason": "BODY_TOO_LARGE",
            "trace_id": telemetry.current_trace_id(),
        }
        content = json.dumps(body).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": content})
