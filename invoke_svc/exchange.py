"""One request to a workload: a place for it, the sending, the head of the answer, and the orderly end.

A request is sent once. It goes to another instance only where not a byte of it was sent, or where the workload says
that it has not begun (`x-fn-not-started`).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable

from opentelemetry.trace import SpanContext

from invoke_svc.admission import Admission, Instance
from invoke_svc.component_errors import component_error
from invoke_svc.connection import Connection, NotSent
from invoke_svc.domain import PayloadTooLarge, RequestTooSlow, Route, Run, timed_out
from invoke_svc.http_head import AnswerHead, answer_head, with_header
from mesh.errors import MeshError, Unavailable
from mesh.telemetry import emit_span

REPLAY_BYTES = 64 * 1024
_NOT_STARTED = 503
_TIMEOUT = 504


class Upload:
    """The body of a request that comes in pieces. `run()` is a task of its own and moves it; memory is bounded.

    What was sent first is kept as long as it is small, for the case that an instance says that it has not begun.
    """

    def __init__(self, pieces: AsyncIterator[bytes | memoryview], limit_bytes: int, run: Run) -> None:
        self._pieces = pieces
        self._limit_bytes = limit_bytes
        self._run = run
        self._replay: bytearray | None = bytearray()
        self._connection: Connection | None = None
        self._attached = asyncio.Event()
        self._gathered = asyncio.Event()
        self._error: MeshError | None = None
        self.starved = True
        """Whether it is the caller who has to send more, and nobody else is waited for."""
        self.ended = False

    @property
    def replayable(self) -> bool:
        return self._replay is not None

    async def gathered(self) -> None:
        """Returns once all of the body is there, or as much as is kept. Raises PayloadTooLarge.

        A place at an instance is worth waiting for this: a caller who sends slowly, or never, takes none.
        """
        await self._gathered.wait()
        if self._error is not None:
            raise self._error

    def attach(self, connection: Connection, head: bytes, *, to_head: bool) -> None:
        """Sends the head and what has come so far, and from now on what comes. Raises NotSent, PayloadTooLarge."""
        if self._error is not None:
            raise self._error
        connection.send(head + bytes(self._replay or b""), to_head=to_head)
        self._connection = connection
        self._attached.set()

    def detach(self) -> None:
        """The connection is no longer to be written to."""
        self._connection = None
        self._attached.clear()

    async def run(self) -> None:
        """Moves the body until its end. Never raises but CancelledError: errors go to the connection."""
        try:
            async for piece in self._pieces:
                self.starved = False
                if piece:
                    self._run.request_bytes += len(piece)
                    if self._run.request_bytes > self._limit_bytes:
                        raise PayloadTooLarge(self._limit_bytes)
                    await self._move(b"%x\r\n" % len(piece), piece, b"\r\n")
                self.starved = True
            self.starved = False
            await self._move(b"0\r\n\r\n")
            self.ended = True
        except MeshError as error:
            self._error = error
            if self._connection is not None:
                self._connection.fail(error)
        finally:
            self._gathered.set()

    async def _move(self, *frame: bytes | memoryview) -> None:
        if self._replay is not None:
            if len(self._replay) + sum(map(len, frame)) <= REPLAY_BYTES:
                self._replay += b"".join(frame)
                # Where there is no connection yet, what is kept goes first on it.
            else:
                self._gathered.set()
                while self._connection is None:
                    await self._attached.wait()
                self._replay = None
        connection = self._connection
        if connection is not None:
            try:
                await connection.write(frame)
            except MeshError:
                # Whoever reads the answer learns of it there; the rest of the body is dropped.
                if self._connection is connection:
                    self.detach()


class Exchange:
    """A request that a workload has answered, at least with a head. close() has to be called, however it ends."""

    __slots__ = (
        "_admission",
        "_closed",
        "_timer",
        "connection",
        "head",
        "instance",
        "sent_ns",
        "silent",
        "upload",
    )

    def __init__(self, admission: Admission, instance: Instance, connection: Connection, upload: Upload | None) -> None:
        self._admission = admission
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self.silent = False
        self.instance = instance
        self.connection = connection
        self.upload = upload
        self.head = AnswerHead()
        self.sent_ns = 0

    def limit(self, limit_s: float, grace_s: float) -> None:
        """Ends the exchange that long from now."""
        self._timer = self.connection.loop.call_later(limit_s + grace_s, self._expire, limit_s)

    def _expire(self, limit_s: float) -> None:
        if self.upload is not None and self.upload.starved:
            self.connection.fail(RequestTooSlow(limit_s))
            return
        unread = self.connection.unread
        self.silent = not unread  # else it is the caller who does not read
        self.connection.fail(timed_out(limit_s))
        if unread:
            # Whoever passes the answer on waits for that caller, maybe for long: the place is for others now.
            self.close()

    def close(self) -> None:
        """Gives back connection and place; cuts what is not complete."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self.upload is not None:
            self.upload.detach()
            if not self.upload.ended:
                self.connection.reusable = False
        if not self.connection.complete:
            self.connection.reusable = False
        self.instance.pool.give(self.connection)
        self._admission.release(self.instance)


class Dispatcher:
    """Sends requests. `retire(instance uid, why)` is called for an instance whose handler cannot be stopped; `key_of`
    an instance is shown to hosts of components, which others on their machine could call too.
    """

    def __init__(
        self,
        admission: Admission,
        retire: Callable[[str, str], None],
        *,
        grace_s: float,
        key_of: Callable[[str], str] = lambda _: "",
    ) -> None:
        self._admission = admission
        self._retire = retire
        self._key_of = key_of
        self._grace_s = grace_s

    async def begin(
        self,
        route: Route,
        run: Run,
        request: bytes,
        *,
        to_head: bool = False,
        upload: Upload | None = None,
        limit_s: float,
        at_most_s: float = math.inf,
        parent: SpanContext | None = None,
    ) -> Exchange:
        """Sends `request` (head, and body unless there is an `upload`), returns once the answer's head is there.

        `limit_s` is the time that the workload has; the wait before it is up to Admission, and to `at_most_s`.
        Fills in `run` on the way. Raises what Admission.wait() and Connection raise, and DeadlineExceeded (TIMEOUT).
        """
        instance = self._admission.try_acquire(route)
        if instance is None:
            instance = await self._queue(route, run, limit_s, at_most_s, parent)
        while True:
            exchange = await self._send(route, run, instance, request, to_head, upload)
            began = time.monotonic()
            if exchange is not None:
                try:
                    exchange.limit(limit_s, self._grace_s)
                    await exchange.connection.answer_head()
                    connection = exchange.connection
                    head = exchange.head = answer_head(connection.status, connection.headers)
                    if route.component:
                        await _check_component(connection, limit_s, began, to_head=to_head)
                    if connection.status == _TIMEOUT and head.timeout and not route.foreign:
                        if head.timeout == "stuck":
                            self._retire(instance.state.uid, "its handler did not stop at its time limit")
                        raise timed_out(limit_s)
                    if not (connection.status == _NOT_STARTED and head.not_started) or route.foreign:
                        return exchange
                    if upload is not None and not upload.replayable:
                        raise Unavailable("OVERLOADED", "The function has no room for this request.", retry_after_s=1)
                except BaseException:
                    self.end(route, exchange)
                    raise
                self._admission.avoid_refusing(instance)
                exchange.close()
            instance = await self._queue(route, run, limit_s, at_most_s, parent)

    def end(self, route: Route, exchange: Exchange) -> None:
        """Closes an exchange, in whatever way it ended; an instance that overran its time counts as stuck."""
        if exchange.silent and not route.foreign:
            self._admission.avoid_silent(exchange.instance)
            self._retire(exchange.instance.state.uid, "it did not answer within its time limit")
        exchange.close()

    async def _send(
        self, route: Route, run: Run, instance: Instance, request: bytes, to_head: bool, upload: Upload | None
    ) -> Exchange | None:
        """Sends to that instance; None, and its place given back, where nobody takes a byte there."""
        pool = instance.pool
        run.instance = instance.state.uid
        run.revision = instance.state.revision
        if route.component:
            request = with_header(request, f"x-fn-instance-key: {self._key_of(run.instance)}")
        try:
            while True:
                connection = pool.take()
                fresh = connection is None
                if connection is None:
                    connection = await pool.connect()
                try:
                    if upload is not None:
                        upload.attach(connection, request, to_head=to_head)
                    else:
                        connection.send(request, to_head=to_head)
                except NotSent:
                    if fresh:
                        raise
                except BaseException:
                    connection.close()
                    raise
                else:
                    exchange = Exchange(self._admission, instance, connection, upload)
                    exchange.sent_ns = time.time_ns()
                    return exchange
        except NotSent:
            self._admission.avoid_unreachable(instance)
            self._admission.release(instance)
            return None
        except BaseException:
            self._admission.release(instance)
            raise

    async def _queue(
        self, route: Route, run: Run, limit_s: float, at_most_s: float, parent: SpanContext | None
    ) -> Instance:
        began, since = time.time_ns(), time.monotonic()  # the time of day may jump while it waits
        run.cold_start = run.cold_start or self._admission.is_cold(route)
        left_s = min(at_most_s, self._admission.patience_s(route, limit_s)) - run.queued_s
        error = ""
        try:
            return await self._admission.wait(route, max(0.0, left_s))
        except MeshError as failure:
            error = failure.reason
            raise
        finally:
            waited_s = time.monotonic() - since
            run.queued_s += waited_s
            if parent is not None:
                name = "cold start" if run.cold_start else "queue"
                emit_span(name, parent, began, began + int(waited_s * 1e9), error=error)


async def _check_component(connection: Connection, limit_s: float, began: float, *, to_head: bool) -> None:
    """Raises the error that a Spin host's answer stands for."""
    error = await component_error(connection, limit_s, time.monotonic() - began, to_head=to_head)
    if error is not None:
        raise error
