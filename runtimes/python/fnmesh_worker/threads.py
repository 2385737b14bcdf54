"""A small pool of threads for synchronous handlers, and the way back to the event loop.

Measured on 2 shared cores with a handler that does nothing, CPU of a whole request at 32 connections and at one:
40-50 us and 81 us with this pool, 58-63 us and 119 us with `loop.run_in_executor`; 32-38 us and 49 us for an async
handler; 35-38 us and 51 us for uvicorn with httptools on the same loop. What helps: at most one sleeping thread is
being woken at a time (threads fight for the interpreter's lock, so more would only queue there), a busy thread takes
the next job itself, and results go back to the loop in batches with one wake-up for all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Mailbox:
    """Runs callables on the loop's thread on behalf of other threads."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._letters: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self._signalled = False

    def post(self, call: Callable[..., Any], *args: Any) -> None:
        """Have `call(*args)` run on the loop soon, after what was posted before it."""
        self._letters.append((call, args))
        if not self._signalled:
            self._signalled = True
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        # Cleared first: a letter that comes while these are read is either read too or signals anew.
        self._signalled = False
        letters = self._letters
        while letters:
            call, args = letters.popleft()
            call(*args)


class WorkerThreads:
    """Up to `limit` daemon threads, made when first needed, that run jobs in the order of their submission.

    The caller never has more than `limit` jobs under way, so a job waits for a wake-up at most, never for
    another job.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._jobs: deque[Callable[[], None]] = deque()
        self._mutex = threading.Lock()
        self._idle: list[threading.Lock] = []
        self._threads = 0
        self._waking = False

    def submit(self, job: Callable[[], None]) -> bool:
        """Have `job()`, which must not raise, run in a thread; False where no thread is to be had for it."""
        with self._mutex:
            self._jobs.append(job)
            self._wake_one()
            if self._threads:
                return True
            self._jobs.pop()
            return False

    def _wake_one(self) -> None:
        if self._waking:
            return
        if self._idle:
            self._waking = True
            self._idle.pop().release()
        elif self._threads < self._limit:
            try:
                threading.Thread(target=self._work, name=f"handler-{self._threads + 1}", daemon=True).start()
            except (RuntimeError, MemoryError):
                return  # the function's own processes and threads leave no room: those that are there do the work
            self._waking = True
            self._threads += 1

    def _work(self) -> None:
        # Adapters for ASGI (Mangum) drive a loop of their own thread, which Lambda's handlers find there too.
        with contextlib.suppress(OSError):  # the function left no file descriptors for it, and few handlers need it
            asyncio.set_event_loop(asyncio.new_event_loop())
        bell = threading.Lock()
        bell.acquire()
        woken = True
        while True:
            with self._mutex:
                if woken:
                    self._waking = woken = False
                job = self._jobs.popleft() if self._jobs else None
                if job is None:
                    self._idle.append(bell)
                elif self._jobs:
                    self._wake_one()
            if job is None:
                bell.acquire()
                woken = True
            else:
                job()
