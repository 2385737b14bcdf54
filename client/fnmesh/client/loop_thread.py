"""An event loop in a thread of its own: how the synchronous face runs the asynchronous one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

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
        steps = _Steps(items, end)
        try:
            while (item := self.run(steps.next())) is not end:
                yield item  # type: ignore[misc]  # `end` is told apart by identity
        finally:
            if self._loop.is_running():
                self.run(steps.close())

    def close(self) -> None:
        """Ends the loop and its thread; what still runs there is cancelled."""
        if not self._loop.is_running():
            return
        self.run(_cancel_others())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Steps(Generic[T]):
    """The steps of an asynchronous iterator. An interrupted step may go on when the iterator is to be closed."""

    def __init__(self, items: AsyncIterator[T], end: object) -> None:
        self._items = items
        self._end = end
        self._step: asyncio.Task[Any] | None = None

    async def next(self) -> T | object:
        self._step = asyncio.current_task()
        return await anext(self._items, self._end)

    async def close(self) -> None:
        if self._step is not None and not self._step.done():
            self._step.cancel()
            await asyncio.wait([self._step])
        if isinstance(self._items, AsyncGenerator):
            await self._items.aclose()


async def _cancel_others() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
