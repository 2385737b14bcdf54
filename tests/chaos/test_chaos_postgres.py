"""The tables are in PostgreSQL, and PostgreSQL is killed and stopped under load."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.chaos import length
from tests.chaos.faults import AFTERMATH_S, BACK_WITHIN_S, frozen
from tests.chaos.ledger import CONTROL, Ledger
from tests.chaos.world import ENVIRON, World, opened
from tests.support import processes
from tests.support.eventually import eventually
from tests.support.postgres import PostgresServer
from tests.support.running_mesh import RunningMesh

pytestmark = pytest.mark.postgres
_TIMEOUT_S = length.chosen().test_timeout_s(170)


class Database:
    """A server of the suite's own, and what is done to it."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server

    async def kill(self, world: World) -> None:
        """SIGKILL to the whole server; started again a moment later, on the same port."""
        with world.ledger.disturbance("kill -9 PostgreSQL", (CONTROL,)) as one:
            await asyncio.to_thread(self.server.crash)
            await asyncio.sleep(world.rng.uniform(0, 2))
            await asyncio.to_thread(self.server.start)
            await self._back(world)
            one.ended = world.ledger.now() + AFTERMATH_S

    async def kill_connection(self, world: World) -> None:
        """SIGKILL to one process of it, whereupon it ends all connections and recovers."""
        pids = await asyncio.to_thread(self.server.pids)
        backends = [pid for pid in pids if "fnmesh" in " ".join(processes.command_line(pid)[:1])]
        with world.ledger.disturbance("kill -9 a connection's process in PostgreSQL", (CONTROL,)) as one:
            os.kill(world.rng.choice(backends or pids[1:]), signal.SIGKILL)
            await self._back(world)
            one.ended = world.ledger.now() + AFTERMATH_S

    async def freeze(self, world: World) -> None:
        """SIGSTOP to the whole server for a moment: everything waits, nothing fails."""
        pids = await asyncio.to_thread(self.server.pids)
        with world.ledger.disturbance("stop PostgreSQL for 2 s"), frozen(*pids):
            await asyncio.sleep(2)

    async def _back(self, world: World) -> None:
        for service in ("registry", "build", "deploy"):
            await eventually(lambda: asyncio.to_thread(self.server.pid), BACK_WITHIN_S)
            await world.faults.answers(service)


@pytest.fixture
def database(tmp_run_dir: Path) -> Database:
    tmp_run_dir.chmod(0o711)  # it runs as a user of its own
    server = PostgresServer(tmp_run_dir / "postgres", durable=True)
    return Database(server)


@pytest.fixture
async def world(database: Database, chaos: length.Length) -> AsyncIterator[World]:
    """A mesh on that server."""
    await asyncio.to_thread(database.server.start)
    mesh = RunningMesh(environ={**ENVIRON, "FNMESH_DATABASE_URL": database.server.url("postgres")})
    try:
        await asyncio.to_thread(mesh.start)
        ledger = Ledger(chaos.seed, echo=chaos.is_long)
        async with opened(mesh, ledger, random.Random(chaos.seed)) as one:
            yield one
        assert mesh.stop() == 0, mesh.errors()
    finally:
        mesh.remove()
        database.server.purge()


@pytest.mark.timeout(_TIMEOUT_S)
async def test_postgres_is_killed_and_stopped_under_load(
    world: World, database: Database, chaos: length.Length
) -> None:
    waiting: list[Callable[[World], Awaitable[None]]] = []
    for number in chaos.rounds(short=1):
        world.ledger.note(f"round {number}")
        async with world.explained(), world.load():
            for _ in range(3):
                waiting = waiting or [database.kill, database.kill_connection, database.freeze]
                await asyncio.sleep(world.rng.uniform(0.3, 1.5))
                await waiting.pop(world.rng.randrange(len(waiting)))(world)
        await world.check()
