"""Group commit: what many tasks want written goes into one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Q = TypeVar("Q")
R = TypeVar("R")


class Batches(Generic[Q, R]):
    """Hands what was added while the last batch was being written to `write`, all at once.

    `write` answers for each item in order, or raises for all of them. One caller of a batch writes it for the others.
    """

    def __init__(self, write: Callable[[Sequence[Q]], Awaitable[Sequence[R]]], *, most: int = 256) -> None:
        self._write = write
        self._most = most
        self._pending: list[tuple[Q, asyncio.Future[R]]] = []
        self._turn = asyncio.Lock()

    async def add(self, item: Q) -> R:
        """What `write` answered for the item. A caller that is cancelled may have had it written all the same."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._pending.append((item, future))
        try:
            while not future.done():
                async with self._turn:
                    if not future.done():
                        await self._write_batch()
        except BaseException:
            future.cancel()
            raise
        return future.result()

    async def _write_batch(self) -> None:
        batch, self._pending = self._pending[: self._most], self._pending[self._most :]
        batch = [(item, future) for item, future in batch if not future.cancelled()]
        try:
            answers = await self._write([item for item, _ in batch])
        except asyncio.CancelledError:
            # Its writer goes away; the others write it again.
            self._pending = [one for one in batch if not one[1].done()] + self._pending
            raise
        except BaseException as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)
