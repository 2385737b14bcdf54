"""Every service runs twice. Any of them is killed at any time: what fails was on its way to that one, and nothing that
was acknowledged is lost. One that is stopped in order fails nothing at all.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fnmesh.client import NotFound
from tests.chaos import length
from tests.chaos.ledger import Ledger
from tests.chaos.replicas import JobAuthor, all_recorded, keep_asking, keep_making_jobs, kill, leader, stop_in_order
from tests.chaos.world import ENVIRON, World, opened
from tests.support.eventually import eventually
from tests.support.postgres import PostgresServer
from tests.support.replicated_mesh import Replica, ReplicatedMesh

pytestmark = pytest.mark.postgres
_TIMEOUT_S = length.chosen().test_timeout_s(170)
_OTHERS = ("registry", "gateway", "invoke", "build")


@dataclass
class Two:
    """Two of each, and what clients were told so far."""

    mesh: ReplicatedMesh
    ledger: Ledger
    rng: random.Random


@pytest.fixture(scope="module")
def two(postgres_server: PostgresServer, chaos: length.Length) -> Iterator[Two]:
    """One such mesh for all tests here."""
    with postgres_server.database() as url:
        mesh = ReplicatedMesh(url, environ={**ENVIRON, "FNMESH_INVOKE_JOB_LEASE_S": "2"})
        try:
            asyncio.run(mesh.start())
            yield Two(mesh, Ledger(chaos.seed, echo=chaos.is_long), random.Random(chaos.seed))
        finally:
            mesh.remove()


@pytest.fixture
def mesh(two: Two) -> ReplicatedMesh:
    return two.mesh


@pytest.fixture
async def world(two: Two) -> AsyncIterator[World]:
    """Its clients."""
    async with opened(two.mesh, two.ledger, two.rng) as one:
        yield one


def _one_of_each(world: World, mesh: ReplicatedMesh) -> list[Replica]:
    """One process of each service, the leading deploy_svc among them."""
    return [leader(mesh), *(world.rng.choice(mesh.of(service)) for service in _OTHERS)]


def _few(world: World, mesh: ReplicatedMesh) -> list[Replica]:
    """Some processes of different services."""
    services = ["deploy", *_OTHERS]
    world.rng.shuffle(services)
    return [world.rng.choice(mesh.of(service)) for service in services[: world.rng.randint(1, 3)]]


async def _soon(world: World, within_s: float, fault: Awaitable[None]) -> None:
    await asyncio.sleep(world.rng.uniform(0, within_s))
    await fault


@pytest.mark.timeout(_TIMEOUT_S)
async def test_one_of_two_is_killed_under_load(
    world: World, mesh: ReplicatedMesh, chaos: length.Length, tmp_path: Path
) -> None:
    jobs = JobAuthor(world.client, world.ledger, world.steady.story.name)
    for number in chaos.rounds(short=1):
        world.ledger.note(f"round {number}")
        stop = asyncio.Event()
        async with world.explained(), world.load(callers=2), asyncio.TaskGroup() as tasks:
            tasks.create_task(keep_making_jobs(jobs, random.Random(number), stop, tmp_path))
            tasks.create_task(keep_asking(world.http, world.ledger, stop))
            for _ in range(4 if chaos.is_long else 1):
                victims = _few(world, mesh) if chaos.is_long else _one_of_each(world, mesh)
                await asyncio.gather(*(_soon(world, 2, kill(world, mesh, one)) for one in victims))
                assert not world.ledger.unexplained(), world.told("a request failed")
            stop.set()
        await world.check()
        async with world.explained():
            await jobs.all_done()
            await all_recorded(world.client, world.ledger, world.called)


@pytest.mark.timeout(_TIMEOUT_S)
async def test_one_of_two_is_stopped_in_order_and_nothing_fails(world: World, mesh: ReplicatedMesh) -> None:
    stop = asyncio.Event()
    async with world.explained(), world.load(callers=2), asyncio.TaskGroup() as tasks:
        tasks.create_task(keep_asking(world.http, world.ledger, stop))
        victims = _one_of_each(world, mesh)
        await asyncio.gather(*(_soon(world, 1, stop_in_order(world, mesh, one)) for one in victims))
        stop.set()
    await world.check()


async def test_a_trace_is_whole_whichever_gateway_is_asked(world: World) -> None:
    async def is_whole() -> bool:
        trace_id = (await world.http.get(f"/api/{world.steady.story.name}")).headers["x-trace-id"]
        asked = [world.client.trace(trace_id) for _ in range(4)]  # Envoy sends each to the next gateway
        try:
            return all({"invoke"} < {span.service for span in trace.spans} for trace in await asyncio.gather(*asked))
        except NotFound:
            return False  # while there is load not all are sampled

    await eventually(is_whole, interval_s=0.5)
