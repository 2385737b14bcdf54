"""A connection to PostgreSQL of a process's own, beside the pool: for locks and LISTEN, which belong to a session."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg  # type: ignore[import-untyped]

ANSWERS_WITHIN_S = 10.0
_CLOSES_WITHIN_S = 2.0
# The last is raised where a connection is cut off at the moment it is used.
_LOST = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
# The server finds out soon that our machine is gone, and gives our locks to others.
_SETTINGS = {"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3", "jit": "off"}


class Session:
    """One connection, in no transaction. Every call raises what `lost` makes of a connection that is gone."""

    def __init__(self, connection: Any, lost: Callable[[Exception], Exception]) -> None:
        self._connection = connection
        self._lost = lost

    @property
    def server_pid(self) -> int:
        """The process of the server that is behind it."""
        return int(self._connection.get_server_pid())

    @property
    def is_closed(self) -> bool:
        """Whether it has ended."""
        return bool(self._connection.is_closed())

    async def value(self, statement: str, *arguments: object) -> Any:
        """The first column of the first row of what a statement gives."""
        with self._told():
            return await self._connection.fetchval(statement, *arguments, timeout=ANSWERS_WITHIN_S)

    async def listen(self, channel: str, heard: Callable[[str], None]) -> None:
        """Has `heard` called with each payload that is sent there."""
        with self._told():
            await self._connection.add_listener(channel, lambda *said: heard(str(said[-1])))

    def on_end(self, ended: Callable[[], None]) -> None:
        """Has `ended` called when the connection has gone."""
        self._connection.add_termination_listener(lambda _: ended())

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except _LOST as error:
            raise self._lost(error) from error


@asynccontextmanager
async def session(
    where: Mapping[str, Any], name: str, lost: Callable[[Exception], Exception]
) -> AsyncIterator[Session]:
    """A new connection, called `name` at the server; raises what `lost` makes of the reason why there is none.

    `where` are arguments of `asyncpg.connect`.
    """
    settings = {**_SETTINGS, "application_name": name}
    try:
        connection = await asyncpg.connect(**where, server_settings=settings, timeout=ANSWERS_WITHIN_S)
    except _LOST as error:
        raise lost(error) from error
    try:
        yield Session(connection, lost)
    finally:
        with contextlib.suppress(*_LOST):
            await connection.close(timeout=_CLOSES_WITHIN_S)
        connection.terminate()
