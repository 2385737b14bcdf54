"""One HTTP/1.1 connection: parsing, order of pipelined requests, framing of answers, backpressure."""

from __future__ import annotations

import asyncio
from collections import deque

from . import replies
from .events import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .calls import Call
    from .server import Server

_HEAD_LIMIT_BYTES = 256 * 1024
_WHOLE_BYTES = 256 * 1024  # a larger body is written in pieces as the client takes them, and never copied whole
_DISCARD_S = 2.0  # how long the rest of a refused request is read, so that the refusal is not lost in a reset


class Connection(asyncio.Protocol):
    """Requests are answered one after the other, in the order they came."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: Any = None
        self._parser = server.parser(self)
        self._request = Request()
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._head_bytes = 0
        self._in_head = True
        self._refused = False
        self._closing = False
        self._waiting: deque[Request] = deque()
        self._current: Request | None = None
        self._call: Call | None = None
        self._chunked = False
        self._sends_body = True
        self._rest: memoryview | None = None
        self._close_then = False
        self._reading = True
        self._drain_waiter: asyncio.Future[None] | None = None
        self._on_writable: Callable[[], None] | None = None
        self.writable = True

    # asyncio.Protocol

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self._closing = True
        self._waiting.clear()
        self._rest = None
        call, self._call = self._call, None
        if call is not None:
            call.disconnected()
        self.resume_writing()
        self._parser = None  # it refers to this object

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._in_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except self._server.parser_upgrade:
            self._closing = True  # no other protocol is spoken here: answered as it is, then closed
        except self._server.parser_error as error:
            if not self._refused:
                self._refuse(400, "BadRequest", f"the request is not HTTP/1.1: {error}")
        if self._in_head and self._head_bytes > _HEAD_LIMIT_BYTES and not self._refused:
            self._refuse(431, "HeadersTooLarge", "the headers of the request are too large")

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        waiter, self._drain_waiter = self._drain_waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        callback, self._on_writable = self._on_writable, None
        if callback is not None:
            callback()
        self._send_rest()
        self._next()

    # httptools

    def on_message_begin(self) -> None:
        self._request = Request()
        self._body = []
        self._body_bytes = 0
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        self._request.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._request.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        request, parser = self._request, self._parser
        self._in_head = False
        self._head_bytes = 0
        request.method = parser.get_method().decode("ascii")
        request.version = parser.get_http_version()
        request.keep_alive = parser.should_keep_alive()
        for name, value in request.headers:
            if name == b"content-length" and int(value) > self._server.options.max_body_bytes:
                self._refuse_body()
            elif name == b"expect" and value.lower() == b"100-continue" and self._current is None:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        if self._refused:
            return
        self._body.append(body)
        self._body_bytes += len(body)
        if self._body_bytes > self._server.options.max_body_bytes:
            self._refuse_body()

    def on_message_complete(self) -> None:
        if self._refused:
            return
        self._in_head = True
        request = self._request
        if self._body:
            request.body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            self._body = []
        self._waiting.append(request)
        if self._current is None:
            self._next()
        elif self._reading:  # pipelined: take no more until this one has had its turn
            self._reading = False
            self._transport.pause_reading()

    # Requests in order

    def _next(self) -> None:
        while self._current is None and self._waiting and self.writable:
            self._current = request = self._waiting.popleft()
            self._call = self._server.begin(self, request)
        if not self._reading and not self._waiting and not self._refused and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()

    def _refuse(self, status: int, kind: str, message: str) -> None:
        """Answer a request that cannot be read to its end, and close once the client had time to see it."""
        self._refused = True
        if self._current is None:
            self._transport.write(replies.of_error(status, kind, message).wire(to_head=False, close=True))
            if self._transport.can_write_eof():
                self._transport.write_eof()
            self._server.loop.call_later(_DISCARD_S, self._transport.abort)
        else:
            self._closing = True

    def _refuse_body(self) -> None:
        limit = self._server.options.max_body_bytes
        self._refuse(413, "BodyTooLarge", f"the body of the request is larger than {limit} bytes")

    # Answers

    def _close_after(self, request: Request) -> bool:
        return self._closing or self._server.draining or not request.keep_alive

    def answer(self, reply: replies.Reply) -> None:
        """Send a whole response, in one write unless it is large, and turn to the next request."""
        request = self._current
        if request is None:
            return
        close = self._close_after(request)
        to_head = request.method == "HEAD"
        if len(reply.body) <= _WHOLE_BYTES or to_head or not reply.has_body:
            self._transport.write(reply.wire(to_head, close))
            self._finish(close)
            return
        self._transport.write(reply.wire(True, close))
        self._rest = memoryview(reply.body)
        self._close_then = close
        self._send_rest()

    def _send_rest(self) -> None:
        while self._rest is not None and self.writable:
            self._transport.write(self._rest[:_WHOLE_BYTES])
            self._rest = self._rest[_WHOLE_BYTES:]
            if not self._rest:
                self._rest = None
                self._finish(self._close_then)

    def start_stream(self, head: replies.Reply) -> bool:
        """Send the head of a response whose body comes in pieces; whether this response has a body at all."""
        request = self._current
        if request is None:
            return False
        self._sends_body = head.has_body and request.method != "HEAD"
        self._chunked = request.version == "1.1" and head.has_body
        if not self._chunked:
            request.keep_alive = request.keep_alive and not head.has_body
        self._transport.write(head.stream_wire(self._chunked, self._close_after(request)))
        return self._sends_body

    def write_chunk(self, content: bytes) -> None:
        """Send a piece of the body, at once; it must not be empty."""
        if self._current is not None:
            self._transport.write(replies.chunk(content) if self._chunked else content)

    def end_stream(self, complete: bool) -> None:
        """End the body; one that is not complete ends with the connection, so that the client can tell."""
        request = self._current
        if request is None:
            return
        if complete and self._chunked and self._sends_body:
            self._transport.write(b"0\r\n\r\n")
        self._finish(not complete or self._close_after(request))

    def _finish(self, close: bool) -> None:
        self._current = self._call = None
        if close:
            self._closing = True
            self._waiting.clear()
            self._transport.close()
        elif self._waiting or not self._reading:
            self._server.loop.call_soon(self._next)

    async def drained(self) -> None:
        """Return once the client has taken enough of what was written; at once if it has gone."""
        if not self.writable:
            self._drain_waiter = self._server.loop.create_future()
            await self._drain_waiter

    def when_writable(self, callback: Callable[[], None]) -> None:
        """Call `callback` once the client has taken enough of what was written, or has gone."""
        if self.writable:
            callback()
        else:
            self._on_writable = callback
