"""One of several processes of a service leads; the others stand by and take over when it is gone.

The lease is a lock of a PostgreSQL session (pg_advisory_lock): the server gives it to the next one as soon as the
leader's connection ends, however its process ended, and no clock is compared. With SQLite there is one process, and it
leads.

A leader that loses only its connection goes on: without the database it can decide nothing, and when that was
restarted it mostly is the first to be back. Where another one was faster it ends (LeadershipLost), and stands by once
it is started again. One that has waited for the lock waits another moment before it begins, so that the other has
noticed by then.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from mesh.db import Database, DatabaseUnavailable
from mesh.errors import NOT_LEADER, Unavailable
from mesh.logs import get_logger
from mesh.loops import Backoff, wait_for_wake
from mesh.main import StartupError

if TYPE_CHECKING:
    from mesh.db_session import Session

log = get_logger(__name__)
POLL_S = 0.3
SETTLE_S = 0.7
CHECK_S = 2.0
_BACKOFF = Backoff(first_s=0.1, limit_s=1.0)
_TRY = "SELECT pg_try_advisory_lock($1)"
_MINE = """
SELECT EXISTS (
    SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND pid = $2
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (classid::bigint << 32 | objid::bigint) = $1
)
"""


class LeadershipLost(StartupError):
    """Another process leads."""


class Leadership:
    """The leadership of a service. `run` it, and ask `require` before doing what only the leader may do."""

    def __init__(self, database: Database, service: str) -> None:
        self._database = database
        self._service = service
        self.key = int.from_bytes(hashlib.sha256(f"fnmesh leads {service}".encode()).digest()[:8], signed=True)
        """Of the lock."""
        self.leads = False
        """Whether this process leads, and has begun to."""
        self._tried = asyncio.Event()

    def require(self) -> None:
        """Raises Unavailable (NOT_LEADER) where this process does not lead."""
        if not self.leads:
            message = f"This {self._service}_svc stands by; another one leads, or will in a moment."
            raise Unavailable(NOT_LEADER, message, retry_after_s=0.05)

    @asynccontextmanager
    async def running(
        self, begin: Callable[[], Awaitable[None]], work: Callable[[], Awaitable[None]]
    ) -> AsyncIterator[None]:
        """Once this process leads, `begin` and then `work` are run; the leadership is given up when the context is
        left. Entered when it leads, or knows that it has to stand by.

        Raises LeadershipLost where another process leads after all.
        """
        async with asyncio.TaskGroup() as tasks:
            leading = tasks.create_task(self._lead(begin, work))
            try:
                await _either(self._tried, leading)
                yield
            finally:
                leading.cancel()

    async def _lead(self, begin: Callable[[], Awaitable[None]], work: Callable[[], Awaitable[None]]) -> None:
        async with AsyncExitStack() as sessions, asyncio.TaskGroup() as tasks:
            if not self._database.is_sqlite:
                tasks.create_task(self._keep(await self._won(sessions), sessions))
            await begin()
            self.leads = True
            self._tried.set()
            log.info("leads")
            try:
                await work()
            finally:
                self.leads = False

    async def _won(self, sessions: AsyncExitStack) -> Session:
        """A session that has the lock, sooner or later."""
        failures = 0
        waited = False
        while True:
            try:
                session = await sessions.enter_async_context(self._database.session("leads"))
                while not await session.value(_TRY, self.key):
                    if not waited:
                        log.info("stands_by")
                    waited = True
                    self._tried.set()
                    await asyncio.sleep(POLL_S)
                if waited:
                    await asyncio.sleep(SETTLE_S)
                    await session.value("SELECT 1")
                return session
            except DatabaseUnavailable:
                waited = True
                failures += 1
                self._tried.set()
                await sessions.aclose()
                await asyncio.sleep(_BACKOFF.delay_s(failures))

    async def _keep(self, session: Session, sessions: AsyncExitStack) -> None:
        """Takes the lock again whenever the session was lost. Raises LeadershipLost."""
        while True:
            backend = session.server_pid
            await _lost(session)
            log.warning("leader_session_lost")
            await sessions.aclose()
            session = await self._again(sessions, backend)

    async def _again(self, sessions: AsyncExitStack, backend: int) -> Session:
        failures = 0
        while True:
            try:
                session = await sessions.enter_async_context(self._database.session("leads"))
                while not await session.value(_TRY, self.key):
                    if not await session.value(_MINE, self.key, backend):
                        raise LeadershipLost(f"Another {self._service}_svc leads now; start this one to stand by.")
                    # The server has not noticed yet that our former connection is gone.
                    await session.value("SELECT pg_terminate_backend($1)", backend)
                    await asyncio.sleep(POLL_S)
                return session
            except DatabaseUnavailable:
                failures += 1
                await sessions.aclose()
                await asyncio.sleep(_BACKOFF.delay_s(failures))


async def _either(event: asyncio.Event, task: asyncio.Task[None]) -> None:
    """Returns when the event is set or the task has ended."""
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait((waiting, task), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


async def _lost(session: Session) -> None:
    """Returns when the session has ended, or answers nothing any more."""
    over = asyncio.Event()
    session.on_end(over.set)
    with contextlib.suppress(DatabaseUnavailable):
        while not session.is_closed:
            await wait_for_wake(over, CHECK_S)
            await session.value("SELECT 1")
