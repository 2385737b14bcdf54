"""One call of the handler: from the request, through the user's code, to the end of its answer."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import time
import traceback

from . import events, logs, replies
from .context import Context
from .loading import users_part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .connection import Connection
    from .server import Server

_CANCEL_GRACE_S = 0.25  # how long a cancelled handler may clean up before its slot counts as stuck
_WAITING, _STREAMING, _CLOSED = range(3)  # the answer: nothing sent, head sent, nothing more may be sent
_NOT_CALLED = object()


class Abandoned(BaseException):
    """Raised where a synchronous generator yields once nobody waits for it any more."""


class Call:
    """A running call. It lives on the loop's thread, but for the methods that say otherwise.

    It keeps its slot until the user's code has really ended, which may be long after the answer was sent:
    a thread cannot be stopped. An async handler that blocks the loop stops the whole server, its deadline
    included; the caller's own deadline and the readiness probe are what notice that.
    """

    __slots__ = (
        "_answer", "_connection", "_envelope", "_expired", "_request", "_scope", "_server", "_stopped",
        "_taken", "_task", "_yielded", "deadline", "ended",
    )  # fmt: skip

    def __init__(self, server: Server, connection: Connection, request: events.Request) -> None:
        self._server = server
        self._connection = connection
        self._request = request
        self._envelope = envelope = events.Envelope(request)
        limit_ms = server.options.timeout_ms
        if 0 < envelope.timeout_ms < limit_ms:
            limit_ms = envelope.timeout_ms
        self.deadline = time.monotonic() + limit_ms / 1000
        self.ended = False
        self._scope = logs.Scope(envelope.trace_id, envelope.request_id)
        self._answer = _WAITING
        self._expired = False
        self._stopped = False
        self._yielded = False
        self._task: asyncio.Task[None] | None = None
        self._taken: threading.Lock | None = None

    def start(self) -> None:
        """Run the handler: on the loop if it is async, else in a thread."""
        if self._server.handler.on_loop:
            self._task = self._server.tasks.create_task(self._run_on_loop())
        elif not self._server.threads.submit(self._run_in_thread):
            self._end(replies.not_started("no thread can be started: too many processes, threads or too little memory"))

    def _invoke(self) -> Any:
        """Make the event and call the handler. Also runs in worker threads."""
        handler = self._server.handler
        options = self._server.options
        request, envelope = self._request, self._envelope
        event: Any
        if request.target == b"/.fnmesh/invoke" or options.event_format == "body":
            event = events.json_event(request.body)
        else:
            event = events.http_event(request, envelope)
        if not handler.wants_context:
            return handler.call(event)
        return handler.call(event, Context(options, envelope.request_id, envelope.trace_id, self.deadline))

    def _failure(self, error: BaseException) -> replies.Reply:
        """The answer to an exception; its traceback goes to the log. Also runs in worker threads."""
        trace_id = self._envelope.trace_id
        if isinstance(error, events.EventInvalid):
            return replies.of_error(400, "InvalidJson", str(error), trace_id)
        if isinstance(error, replies.ResultInvalid):
            sys.stderr.write(f"{error}\n")
        elif not self._stopped:
            part = users_part(error.__traceback__)
            try:
                sys.stderr.write("".join(traceback.format_exception(type(error), error, part)))
            except Exception:  # the user's __str__ is the user's code
                sys.stderr.write(f"{type(error).__name__}, whose text could not be made\n")
        return replies.of_exception(error, trace_id)

    # Synchronous handlers, in worker threads

    def _run_in_thread(self) -> None:
        contextvars.copy_context().run(self._guarded, self._call_and_answer)

    def _guarded(self, work: Callable[[], None]) -> None:
        """Run `work`; whatever leaves it ends the call, SystemExit too: one call must not end the others."""
        logs.current.set(self._scope)
        try:
            work()
        except Abandoned:
            self._server.mailbox.post(self._end, None)
        except BaseException as error:
            self._server.mailbox.post(self._end, self._failure(error))

    def _call_and_answer(self) -> None:
        result = self._invoke()
        if hasattr(result, "__await__") or hasattr(result, "__anext__"):
            self._server.mailbox.post(self._continue_on_loop, result)
        elif hasattr(result, "__next__"):
            self._stream_from_thread(result)
        else:
            self._server.mailbox.post(self._end, replies.of_result(result))

    def _stream_from_thread(self, items: Any) -> None:
        """Send each item, and wait until the connection can take another."""
        self._taken = taken = threading.Lock()
        taken.acquire()
        try:
            for item in items:
                self._server.mailbox.post(self._send_item_of_thread, *self._encoded(item))
                taken.acquire()
                if self._stopped:
                    raise Abandoned
        finally:
            if hasattr(items, "close"):
                items.close()
        self._server.mailbox.post(self._end, None)

    def _encoded(self, item: Any) -> tuple[replies.Reply | None, bytes]:
        """The bytes of one yielded item, with the head if it is the first. Also runs in worker threads."""
        if self._yielded:
            return None, replies.stream_item(item)
        self._yielded = True
        return replies.stream_start(item)

    # Async handlers

    async def _run_on_loop(self, result: Any = _NOT_CALLED) -> None:
        logs.current.set(self._scope)
        reply = None
        try:
            if result is _NOT_CALLED:
                result = self._invoke()
            if hasattr(result, "__await__"):
                result = await result
            if hasattr(result, "__anext__"):
                await self._stream_on_loop(result)
            elif hasattr(result, "__next__"):
                self._task = None
                work = lambda: self._guarded(lambda: self._stream_from_thread(result))  # noqa: E731
                context = contextvars.copy_context()
                if self._server.threads.submit(lambda: context.run(work)):
                    return
                reply = replies.of_error(500, "NoThread", "no thread can be started", self._envelope.trace_id)
            else:
                reply = replies.of_result(result)
        except BaseException as error:  # SystemExit too, which would else end the loop
            if not (self._stopped and isinstance(error, asyncio.CancelledError)):
                reply = self._failure(error)
        self._end(reply)

    def _continue_on_loop(self, result: Any) -> None:
        """A synchronous handler returned something to await or to iterate over on the loop."""
        self._task = self._server.tasks.create_task(self._run_on_loop(result))
        if self._stopped:
            self._task.cancel()

    async def _stream_on_loop(self, items: Any) -> None:
        try:
            async for item in items:
                self._send_item(*self._encoded(item))
                if self._connection.writable:
                    await asyncio.sleep(0)  # a generator that never waits must not starve the others
                else:
                    await self._connection.drained()
        finally:
            if hasattr(items, "aclose"):
                await items.aclose()

    # The answer

    def _send_item(self, head: replies.Reply | None, content: bytes) -> None:
        if self._answer == _CLOSED:
            return
        if head is not None:
            self._answer = _STREAMING
            if not self._connection.start_stream(head):
                self._answer = _CLOSED
                self._connection.end_stream(complete=True)
                self._stop()  # nobody will see what it yields
                return
        if content:
            self._connection.write_chunk(content)

    def _send_item_of_thread(self, head: replies.Reply | None, content: bytes) -> None:
        self._send_item(head, content)
        self._connection.when_writable(self._release_thread)

    def _release_thread(self) -> None:
        if self._taken is not None and self._taken.locked():
            self._taken.release()

    def _end(self, reply: replies.Reply | None) -> None:
        """The user's code has ended: answer if nobody has yet, and give the slot back."""
        self.ended = True
        self._server.frames.flush(self._scope)
        if self._expired:
            self._answer_timeout("cancelled")
        elif self._answer == _STREAMING:
            self._answer = _CLOSED
            self._connection.end_stream(complete=reply is None)
        elif self._answer == _WAITING:
            self._answer = _CLOSED
            self._connection.answer(reply or replies.Reply(200, b"", b""))
        self._server.ended(self)

    def expire(self) -> None:
        """The deadline has passed: stop what can be stopped, and answer 504, or cut the stream short."""
        self._expired = True
        on_loop = self._task is not None
        self._stop()
        if on_loop:
            self._server.loop.call_later(_CANCEL_GRACE_S, self._answer_timeout, "stuck")
        else:
            self._answer_timeout("stuck")

    def _answer_timeout(self, how: str) -> None:
        if self._answer == _STREAMING:
            self._connection.end_stream(complete=False)
        elif self._answer == _WAITING:
            header = f"x-fn-timeout: {how}\r\n".encode("ascii")
            trace_id = self._envelope.trace_id
            message = "the handler did not finish in its time"
            self._connection.answer(replies.of_error(504, "Timeout", message, trace_id, header))
        self._answer = _CLOSED

    def disconnected(self) -> None:
        """The client has gone: nobody waits for the answer."""
        self._answer = _CLOSED
        self._stop()

    def _stop(self) -> None:
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
        self._release_thread()
