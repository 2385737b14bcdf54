"""Who leads, on a real PostgreSQL: one at a time, another one when it is gone, and the same one after an outage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from mesh.db import Database
from mesh.errors import NOT_LEADER, Unavailable
from mesh.leadership import Leadership, LeadershipLost
from tests.support.eventually import eventually

_HOLDERS = """
FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND application_name LIKE '%leading leads' AND datname = current_database()
"""


class Process:
    """What a process of a service does: it leads, or stands by."""

    def __init__(self, url: str) -> None:
        self.database = Database(url, schema="leading")
        self.leadership = Leadership(self.database, "deploy")
        self.begun = 0
        self.works = False

    async def begin(self) -> None:
        self.begun += 1

    async def work(self) -> None:
        self.works = True
        try:
            await asyncio.Event().wait()
        finally:
            self.works = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        try:
            async with self.leadership.running(self.begin, self.work):
                yield
        finally:
            await self.database.close()

    async def holder(self) -> int:
        """The server's process whose session has the lock; 0 where there is none."""
        async with self.database.session("test") as session:
            return int(await session.value(f"SELECT max(pid) {_HOLDERS}") or 0)

    async def cut_off(self) -> None:
        """Has the server end the session of whoever leads."""
        async with self.database.session("test") as session:
            await session.value(f"SELECT pg_terminate_backend(pid) {_HOLDERS}")


async def test_with_sqlite_the_one_process_leads(tmp_path: Path) -> None:
    one = Process(f"sqlite:///{tmp_path}/leading.db")
    async with one.running():
        assert one.leadership.leads
        one.leadership.require()
        assert one.begun == 1
        await eventually(lambda: one.works)
    assert not one.works
    assert not one.leadership.leads


async def test_one_leads_and_the_other_takes_over(postgres_url: str) -> None:
    first, second = Process(postgres_url), Process(postgres_url)
    async with AsyncExitStack() as stack:
        async with first.running():
            assert first.leadership.leads
            await stack.enter_async_context(second.running())
            assert not second.leadership.leads
            assert second.begun == 0
            with pytest.raises(Unavailable) as refused:
                second.leadership.require()
            assert refused.value.reason == NOT_LEADER
        await eventually(lambda: second.works)
        assert second.leadership.leads


async def test_a_leader_that_loses_its_session_alone_goes_on(postgres_url: str) -> None:
    one = Process(postgres_url)
    async with one.running():
        await eventually(lambda: one.works)
        before = await one.holder()
        await one.cut_off()
        await eventually(lambda: _has_another(one, before))
        assert one.works
        assert one.begun == 1


async def test_a_leader_that_finds_another_one_in_its_place_ends(postgres_url: str) -> None:
    one = Process(postgres_url)
    other = Database(postgres_url, schema="leading")
    with pytest.RaisesGroup(LeadershipLost, flatten_subgroups=True):
        async with one.running(), other.session("other") as session, asyncio.TaskGroup() as tasks:
            await eventually(lambda: one.works)
            # It waits in the server's own queue, so it is there before the leader is back.
            taken = tasks.create_task(session.value("SELECT pg_advisory_lock($1)", one.leadership.key))
            await eventually(lambda: _somebody_waits(other))
            await one.cut_off()
            await taken
            await asyncio.Event().wait()
    assert not one.works
    await other.close()


async def _has_another(process: Process, before: int) -> bool:
    return await process.holder() not in (0, before)


async def _somebody_waits(database: Database) -> bool:
    async with database.session("test") as session:
        return bool(await session.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
