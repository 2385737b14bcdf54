"""Anything is killed or stopped at random under load; afterwards all is as clients were told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.chaos import length
from tests.chaos.faults import EXCUSES
from tests.chaos.world import World

Fault = Callable[[], Awaitable[None]]
_TIMEOUT_S = length.chosen().test_timeout_s(170)


def _faults(world: World) -> list[Fault]:
    """Every victim, killed and stopped, in an order of the seed's."""
    faults, rng = world.faults, world.rng
    found: list[Fault] = [faults.kill_up, lambda: faults.freeze_up(2)]
    for name in EXCUSES:
        found.append(lambda name=name: faults.kill_service(name))  # type: ignore[misc]
        found.append(lambda name=name: faults.freeze_service(name, rng.uniform(0.5, 3)))  # type: ignore[misc]
    for function in world.called:
        found.append(lambda function=function: faults.kill_workload(function))  # type: ignore[misc]
        found.append(lambda function=function: faults.freeze_workload(function, 2))  # type: ignore[misc]
    rng.shuffle(found)
    return found


@pytest.mark.timeout(_TIMEOUT_S)
async def test_random_faults_under_load(world: World, chaos: length.Length) -> None:
    waiting: list[Fault] = []
    for number in chaos.rounds(short=2):
        world.ledger.note(f"round {number}")
        async with world.explained(), world.load():
            for _ in range(3):
                waiting = waiting or _faults(world)
                await asyncio.sleep(world.rng.uniform(0.1, 1.0))
                await waiting.pop()()
        await world.check()
