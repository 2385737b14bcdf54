"""An event loop in a thread of its own: how the synchronous face runs the asynchronous one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for other threads. An interrupted caller (Ctrl-C) cancels what it waits for."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fnmesh-client", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What the coroutine returns or raises."""
        future: Future[T] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        """The items of an asynchronous iterator, which is closed when this one is."""
        end = object()
        turn = asyncio.Lock()  # an interrupted step is still ending when the iterator is closed
        try:
            while (item := self.run(_next(items, end, turn))) is not end:
                yield item  # type: ignore[misc]  # `end` is told apart by identity
        finally:
            if isinstance(items, AsyncGenerator) and self._loop.is_running():
                self.run(_close(items, turn))

    def close(self) -> None:
        """Ends the loop and its thread; what still runs there is cancelled."""
        if not self._loop.is_running():
            return
        self.run(_cancel_others())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _next(items: AsyncIterator[T], end: object, turn: asyncio.Lock) -> T | object:
    async with turn:
        return await anext(items, end)


async def _close(items: AsyncGenerator[Any, Any], turn: asyncio.Lock) -> None:
    async with turn:
        await items.aclose()


async def _cancel_others() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
