"""The connections of an engine, given out so that none is ever lost.

A caller that is cancelled within SQLAlchemy's pool, while it waits there or while its connection is opened, may take
the connection along for ever. Here callers wait in a queue of our own; opening and giving back are tasks of their own
that end whatever becomes of the caller, and only then is there room for the next one.

A statement of SQLite that is given up half-way keeps its connection, closed or not, in its transaction until the
garbage collector finds it, and all other writers out. So statements are not given up: they are short.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from mesh.cancellation import to_its_end

_END_S = 10.0


class NoneFree(Exception):
    """All connections are in use, and were for as long as a caller waits."""


class WholeConnection(AsyncConnection):
    """Whose statements end before a cancelled caller goes on."""

    async def execute(self, *arguments: Any, **named: Any) -> Any:
        return await to_its_end(super().execute(*arguments, **named))

    async def run_sync(self, *arguments: Any, **named: Any) -> Any:
        return await to_its_end(super().run_sync(*arguments, **named))

    async def commit(self) -> None:
        await to_its_end(super().commit())


class WholeEngine(AsyncEngine):
    """The engine of such connections."""

    _connection_cls = WholeConnection


class Connections:
    """At most `limit` connections at once, first come, first served; nobody waits for longer than `wait_s`."""

    def __init__(self, limit: int, *, wait_s: float) -> None:
        self._room = asyncio.Semaphore(limit)
        self._wait_s = wait_s
        self._ending: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def one(self, opened: Callable[[], Awaitable[AsyncConnection]]) -> AsyncIterator[AsyncConnection]:
        """What `opened` gives, for as long as the context lasts; then its transaction is rolled back.

        Raises NoneFree.
        """
        try:
            async with asyncio.timeout(self._wait_s):
                await self._room.acquire()
        except TimeoutError:
            raise NoneFree from None
        opening = asyncio.ensure_future(opened())
        try:
            conn = await asyncio.shield(opening)
        except asyncio.CancelledError:
            self._begin(self._given_up(opening))
            raise
        except BaseException:
            self._room.release()
            raise
        try:
            yield conn
        finally:
            await asyncio.shield(self._begin(self._given_back(conn)))

    async def ended(self) -> None:
        """Returns when what was cancelled has given its connections back."""
        if self._ending:
            await asyncio.wait(self._ending, timeout=_END_S)

    def _begin(self, ending: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(ending)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task

    async def _given_up(self, opening: asyncio.Future[AsyncConnection]) -> None:
        try:
            with suppress(Exception):  # nobody waits for it any more
                await (await opening).close()
        finally:
            self._room.release()

    async def _given_back(self, conn: AsyncConnection) -> None:
        try:
            await conn.close()
        finally:
            self._room.release()
