"""The server: load the user's module, listen, admit calls up to the concurrency, drain on SIGTERM."""

from __future__ import annotations

import asyncio
import atexit
import errno
import gc
import os
import signal
import socket
import sys
import time
import traceback

from . import events, loading, logs, options, replies
from .calls import Call
from .connection import Connection
from .threads import Mailbox, WorkerThreads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BACKLOG = 1024
_COUNT_AFTER_S = 1.0  # how soon after a call it is seen that it has left no file descriptors
_SPARE_DESCRIPTORS = 16  # with fewer a server cannot go on: a probe that ends frees one, and takes it again
_NONE_LEFT = (errno.EMFILE, errno.ENFILE)
_STRAGGLERS_S = 0.05  # how long idle connections are still told "not started" once all calls have ended


class Server:
    """What the connections and calls of this process share. Made on the running loop.

    `handler` is missing where the user's module could not be loaded; `failure` says why, in the error body.
    """

    def __init__(
        self,
        opts: options.Options,
        httptools: Any,
        frames: logs.Frames,
        tasks: asyncio.TaskGroup,
        loaded: loading.Handler | replies.Reply,
    ) -> None:
        self.options = opts
        self.frames = frames
        self.tasks = tasks
        self.loop = asyncio.get_running_loop()
        self.mailbox = Mailbox(self.loop)
        self.threads = WorkerThreads(opts.concurrency)
        self.parser = httptools.HttpRequestParser
        self.parser_error = httptools.HttpParserError
        self.parser_upgrade = httptools.HttpParserUpgrade
        self.failure = loaded if isinstance(loaded, replies.Reply) else None
        if isinstance(loaded, loading.Handler):
            self.handler = loaded
        self.connections: set[Connection] = set()
        self.draining = False
        self.idle = asyncio.Event()
        self.idle.set()
        self._running: set[Call] = set()
        self._next_check = float("inf")
        self._counting = False
        self._ready = replies.Reply(200, b"content-type: text/plain\r\n", b"ok")

    def begin(self, connection: Connection, request: events.Request) -> Call | None:
        """Answer what this server answers itself; else admit the request and run the handler."""
        target = request.target
        if target.startswith(b"/.fnmesh/") and target != b"/.fnmesh/invoke":
            connection.answer(self._internal(target))
        elif not target.startswith(b"/"):
            connection.answer(replies.of_error(400, "BadRequest", "the target of a request is a path"))
        elif self.failure is not None:
            connection.answer(replies.not_started("the function's module could not be loaded"))
        elif self.draining:
            connection.answer(replies.not_started("this instance is shutting down"))
        elif len(self._running) >= self.options.concurrency:
            connection.answer(replies.not_started("all slots of this instance are in use"))
        else:
            call = Call(self, connection, request)
            self._running.add(call)
            if call.deadline < self._next_check:
                self._check_at(call.deadline)
            call.start()
            return call
        return None

    def _internal(self, target: bytes) -> replies.Reply:
        if target != b"/.fnmesh/ready":
            return replies.of_error(404, "NotFound", "there is no such internal path")
        if self.draining:
            return replies.not_started("this instance is shutting down")
        return self.failure or self._ready

    def ended(self, call: Call) -> None:
        """The user's code of `call` has ended: its slot is free."""
        self._running.discard(call)
        if not self._counting:
            self._counting = True
            self.loop.call_later(_COUNT_AFTER_S, self._count_descriptors)
        if self.draining and not self._running:
            self.idle.set()

    def _count_descriptors(self) -> None:
        """Fails where hardly any are left, as accepting a connection without one does: see `_alarm`."""
        self._counting = False
        opened: list[int] = []
        try:
            while len(opened) < _SPARE_DESCRIPTORS:
                opened.append(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            if error.errno in _NONE_LEFT:
                raise
        finally:
            for descriptor in opened:
                os.close(descriptor)

    # One timer for all deadlines: one for each call costs more than looking through the few calls.

    def _check_at(self, when: float) -> None:
        self._next_check = when
        self.loop.call_at(when, self._check, when)

    def _check(self, when: float) -> None:
        if when != self._next_check:
            return  # an earlier check was asked for since, and has asked for the next
        now = time.monotonic()
        self._next_check = float("inf")
        earliest = float("inf")
        for call in list(self._running):
            if call.deadline <= now:
                call.deadline = float("inf")
                call.expire()
            elif call.deadline < earliest:
                earliest = call.deadline
        if earliest < float("inf"):
            self._check_at(earliest)

    async def drain(self) -> bool:
        """Let the running calls finish; whether they all did in the time there is."""
        self.draining = True
        if not self._running:
            self.idle.set()
        else:
            self.idle.clear()
        try:
            await asyncio.wait_for(self.idle.wait(), self.options.drain_ms / 1000)
        except TimeoutError:
            return False
        return True


def _bind(listen: str) -> socket.socket:
    kind, _, address = listen.partition(":")
    if kind == "unix":
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if os.path.exists(address):
            os.unlink(address)  # of an earlier process: nobody else may use this path
        listener.bind(address)
        return listener
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host.strip("[]"), int(port)))
    return listener


async def _serve(opts: options.Options, httptools: Any, frames: logs.Frames, loaded: Any) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.set_exception_handler(lambda loop, context: _alarm(loop, context, stop))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with asyncio.TaskGroup() as tasks:
        server = Server(opts, httptools, frames, tasks, loaded)
        listener = _bind(opts.listen)
        create = loop.create_unix_server if listener.family == socket.AF_UNIX else loop.create_server
        accepting = await create(lambda: Connection(server), sock=listener, backlog=_BACKLOG)
        if server.failure is not None:
            # Stays up for a while, so that whoever waits for readiness can read why it will not come.
            await asyncio.wait({loop.create_task(stop.wait())}, timeout=opts.failure_linger_ms / 1000)
            return _exit(frames, 1)
        await stop.wait()
        accepting.close()
        drained = await server.drain()
        if server.connections:
            await asyncio.sleep(_STRAGGLERS_S)
        return _exit(frames, 0 if drained else 1)


def _alarm(loop: asyncio.AbstractEventLoop, context: dict[str, Any], stop: asyncio.Event) -> None:
    """An error of the server's own. Where the function has used up what the server needs, this instance ends."""
    error = context.get("exception")
    if isinstance(error, OSError) and error.errno in _NONE_LEFT:
        missing = "file descriptors are left"
    elif isinstance(error, MemoryError):
        missing = "memory is left"
    else:
        loop.default_exception_handler(context)
        return
    if not stop.is_set():
        stop.set()
        print(f"No {missing} for the server of this function: it ends and is replaced.", file=sys.stderr)


def _exit(frames: logs.Frames, code: int) -> int:
    """End the process now: threads and tasks that the user's code left behind must not keep it alive."""
    atexit._run_exitfuncs()
    frames.flush_all()
    os._exit(code)


def _load(opts: options.Options) -> loading.Handler | replies.Reply:
    try:
        return loading.load(opts.app, opts.file, opts.handler)
    except BaseException as error:  # SystemExit at import is a failure to start as any other
        if isinstance(error, loading.HandlerInvalid):
            print(error, file=sys.stderr)
        else:
            traceback.print_exception(type(error), error, loading.users_part(error.__traceback__))
        return replies.of_error(500, type(error).__name__, str(error))


def _import_httptools(lib: str) -> Any:
    """httptools from `lib`, leaving no trace of it: the user's packages may bring another one."""
    if lib:
        sys.path.insert(0, lib)
    import httptools

    if lib:
        sys.path.remove(lib)
        for name in [name for name in sys.modules if name.partition(".")[0] == "httptools"]:
            del sys.modules[name]
    return httptools


def main(argv: list[str]) -> None:
    """Serve the function that `argv` describes; does not return. Exit status 2 for a wrong command line."""
    try:
        opts = options.parse(argv)
    except options.UsageError as error:
        sys.exit(f"serve.py: {error}")
    httptools = _import_httptools(opts.lib)
    frames = logs.install()
    loading.set_paths(opts.app, opts.packages)
    loaded = _load(opts)
    gc.freeze()  # what is imported stays: the collector need not look at it again and again
    asyncio.run(_serve(opts, httptools, frames, loaded))
