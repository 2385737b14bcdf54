"""What one process tells, the others hear; nobody hears himself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mesh.db import Database
from mesh.fanout import Fanout
from tests.support.eventually import eventually


class Process:
    def __init__(self, url: str) -> None:
        self.database = Database(url, schema="fanned")
        self.fanout = Fanout(self.database)
        self.heard: list[str] = []
        self.fanout.on("changed", self.heard.append)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.fanout.run())
            yield
            task.cancel()
        await self.database.close()

    async def cut_off_all(self) -> None:
        async with self.database.session("test") as session:
            await session.value(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE application_name = 'fnmesh-fanned fanout' AND datname = current_database()"
            )


async def test_others_hear_what_one_tells(postgres_url: str) -> None:
    one, other = Process(postgres_url), Process(postgres_url)
    async with one.running(), other.running():
        await _tell_until_heard(one, other, "bld-1")
        for number in range(2000):  # more than one payload
            one.fanout.tell("changed", f"bld-{number:04}")
        one.fanout.tell("unknown", "x")
        await eventually(lambda: {f"bld-{number:04}" for number in range(2000)} <= set(other.heard))
        assert one.heard == []


async def test_it_goes_on_after_the_connections_were_lost(postgres_url: str) -> None:
    one, other = Process(postgres_url), Process(postgres_url)
    async with one.running(), other.running():
        await _tell_until_heard(one, other, "before")
        await one.cut_off_all()
        await _tell_until_heard(one, other, "after")


async def test_with_sqlite_there_is_nobody_to_tell(tmp_path: Path) -> None:
    one = Process(f"sqlite:///{tmp_path}/fanned.db")
    one.fanout.tell("changed", "x")
    await one.fanout.run()
    assert one.heard == []
    await one.database.close()


async def _tell_until_heard(one: Process, other: Process, about: str) -> None:
    """What is told before the other one listens is lost."""

    def told() -> bool:
        one.fanout.tell("changed", about)
        return about in other.heard

    await eventually(told, interval_s=0.1)
