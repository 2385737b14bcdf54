"""One HTTP/1.1 connection to a workload, written as the parser that it is.

What comes from a workload is somebody else's program talking: every limit is checked, and a connection on which
anything odd was seen is closed, never used again. One request at a time:

    connection.send(head, body)  ->  await answer_head()  ->  await read() ... b""  ->  reusable?

`status`, `headers` and `complete` are set once answer_head() has returned. Informational answers (1xx) are skipped
and trailers dropped. Memory is bounded: above HIGH_WATER bytes not yet read, the workload is not read from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import httptools

from invoke_svc.domain import WorkloadFailed
from mesh.errors import MeshError

MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 256
MAX_INFORMATIONAL = 16
HIGH_WATER = 256 * 1024

_BODILESS = frozenset((204, 304))


class NotSent(Exception):
    """Not a byte of the request has been sent: it may go elsewhere."""


class Connection(asyncio.Protocol):
    """A connection, before, between and in exchanges. Made by the pool, which hears of its end."""

    __slots__ = (
        "_buffered",
        "_chunks",
        "_drained",
        "_error",
        "_head_bytes",
        "_head_done",
        "_informational",
        "_lost",
        "_on_lost",
        "_parser",
        "_paused",
        "_silent_bytes",
        "_to_head",
        "_transport",
        "_waiter",
        "busy",
        "complete",
        "headers",
        "idle_limit_s",
        "idle_since",
        "loop",
        "reusable",
        "status",
    )  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, on_lost: Callable[[Connection], None]) -> None:
        self.loop = loop
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._lost = False
        self._drained: asyncio.Future[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._to_head = False
        self.busy = False
        self.idle_since = 0.0
        self.idle_limit_s = float("inf")
        self._reset()

    def _reset(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False
        self.reusable = False
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._paused = False
        self._error: Exception | None = None
        self._head_done = False
        self._head_bytes = 0
        self._informational = 0
        self._silent_bytes = 0

    # --- the request ---

    def send(self, data: bytes, *, to_head: bool) -> None:
        """Begins an exchange with a head, and its body or the first part of it. NotSent where it is closed."""
        transport = self._transport
        if transport is None or transport.is_closing():
            raise NotSent
        if self._to_head:
            # A parser cannot be told of HEAD: it still expects the body that the headers announced.
            self._parser = httptools.HttpResponseParser(self)
        self._reset()
        self._to_head = to_head
        self.busy = True
        transport.write(data)

    async def write(self, data: Iterable[bytes | memoryview]) -> None:
        """Sends more of the request; waits while the workload does not take it. WorkloadFailed once it is gone."""
        if self._lost or self._transport is None:
            raise self._error or WorkloadFailed("WORKLOAD_CLOSED", "The function ended the connection.")
        self._transport.writelines(data)
        if self._drained is not None:
            await self._drained

    # --- the answer ---

    async def answer_head(self) -> None:
        """Waits for status and headers. Raises WorkloadFailed, or what fail() was given."""
        while not self._head_done:
            if self._error is not None:
                raise self._error
            await self._wait()

    async def read(self) -> bytes:
        """The body received since the last call, waiting for some; b"" at its end. Raises as answer_head does."""
        pieces = await self.read_pieces()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def read_pieces(self) -> list[bytes]:
        """The same as it came in, none at its end: for those who put it together with something else."""
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self.complete:
                return []
            await self._wait()
        chunks, self._chunks = self._chunks, []
        self._buffered = 0
        if self._paused:
            self._paused = False
            if self._transport is not None and not self._lost:
                self._transport.resume_reading()
        return chunks

    async def peek(self, at_most: int) -> bytes:
        """The beginning of the body, which can still be read: all of it, or so many bytes at least. Raises as read."""
        while not self.complete and self._buffered < at_most:
            if self._error is not None:
                raise self._error
            await self._wait()
        return b"".join(self._chunks)

    @property
    def unread(self) -> bool:
        """Whether something has come that nobody has read yet."""
        return bool(self._chunks)

    def fail(self, error: MeshError) -> None:
        """Ends the exchange with that error, unless its answer is complete already."""
        if self.busy and not self.complete:
            self._fail(error)

    def close(self) -> None:
        """Closes at once: what is under way is cut, which tells the workload that nobody waits any more."""
        self.reusable = False
        if self._transport is not None and not self._lost:
            self._transport.abort()

    async def _wait(self) -> None:
        self._waiter = self.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _fail(self, error: Exception) -> None:
        if self._error is None and not self.complete:
            self._error = error
        self.close()
        self._wake()

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if not self.busy:
            self.close()
            return
        self._silent_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.reusable = False
            why = error.__context__ if isinstance(error.__context__, _Odd) else error
            self._fail(WorkloadFailed("ANSWER_MALFORMED", f"The function did not answer in HTTP/1.1: {why}."))
            return
        if self._silent_bytes > MAX_HEAD_BYTES and not self.complete:
            self._fail(WorkloadFailed("ANSWER_MALFORMED", "The head of the function's answer is too large."))
        elif self._waiter is not None:
            self._wake()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._transport = None
        if self.busy and not self.complete and self._error is None:
            if self._head_done and exc is None and self._ends_with_connection():
                self.complete = True
            else:
                when = "in the middle of its answer" if self._head_done else "before it answered"
                self._error = WorkloadFailed("WORKLOAD_CLOSED", f"The function ended the connection {when}.")
        self.reusable = False
        self._wake()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None
        self._on_lost(self)

    def pause_writing(self) -> None:
        self._drained = self.loop.create_future()

    def resume_writing(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    # --- httptools ---

    def on_message_begin(self) -> None:
        if self.complete:
            raise _Odd("more bytes after the answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > MAX_HEAD_BYTES or len(self.headers) >= MAX_HEADERS:
            raise _Odd("too many or too large headers")
        if not self._head_done:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self._parser.get_http_version() not in ("1.1", "1.0"):
            raise _Odd("another version")
        if status < 200:
            self._informational += 1
            if status < 100 or status == 101 or self._informational > MAX_INFORMATIONAL:
                raise _Odd(f"status {status}")
            self.headers.clear()
            return
        if status > 599:
            raise _Odd(f"status {status}")
        self.status = status
        self._head_done = True
        self._silent_bytes = 0
        if self._to_head or status in _BODILESS:
            self.complete = True
            # One who announces a body may send it, too, and sooner or later it would be read as the next answer.
            self.reusable = not self._announces_body() and self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        if self.complete:
            raise _Odd("a body where there must be none")
        self._silent_bytes = 0
        self._chunks.append(body)
        self._buffered += len(body)
        if self._buffered > HIGH_WATER and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._head_done and not self.complete:
            self.complete = True
            self.reusable = self._parser.should_keep_alive()

    def _announces_body(self) -> bool:
        return any(
            (name == b"content-length" and value != b"0") or name == b"transfer-encoding"
            for name, value in self.headers
        )

    def _ends_with_connection(self) -> bool:
        """Whether the answer has neither a length nor chunks, so that its end is that of the connection."""
        framing = [value for name, value in self.headers if name == b"transfer-encoding"]
        if framing:
            return framing[-1].rpartition(b",")[2].strip().lower() != b"chunked"
        return all(name != b"content-length" for name, _ in self.headers)


class _Odd(Exception):
    """Something in an answer that a parser lets pass and this client does not."""
