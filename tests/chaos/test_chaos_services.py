"""Anything is killed or stopped at random under load, up to three at once; afterwards all is as clients were told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from tests.chaos import length
from tests.chaos.faults import EXCUSES
from tests.chaos.world import World

Fault = Callable[[], Awaitable[None]]
_AT_ONCE = 3
_WAVES = 4
_TIMEOUT_S = length.chosen().test_timeout_s(170)


def _kills(world: World) -> list[Fault]:
    faults = world.faults
    return [
        *(partial(faults.kill_service, name) for name in EXCUSES),
        *(partial(faults.kill_workload, function) for function in world.called),
    ]


def _freezes(world: World) -> list[Fault]:
    faults, rng = world.faults, world.rng
    return [
        partial(faults.freeze_up, 2),
        *(partial(faults.freeze_service, name, rng.uniform(0.5, 3)) for name in EXCUSES),
        *(partial(faults.freeze_workload, function, 2) for function in world.called),
    ]


def _waves(world: World) -> list[list[Fault]]:
    """Every victim killed and stopped once, in an order and in company of the seed's; `up` is killed alone."""
    waves = []
    for found in (_kills(world), _freezes(world)):
        world.rng.shuffle(found)
        while found:
            size = world.rng.randint(1, _AT_ONCE)
            waves.append(found[:size])
            del found[:size]
    waves.append([world.faults.kill_up])
    world.rng.shuffle(waves)
    return waves


def _few_waves(world: World) -> list[list[Fault]]:
    """For the short form: every victim killed once, some stopped, `up` killed at the end."""
    kills, freezes = _kills(world), _freezes(world)
    world.rng.shuffle(kills)
    world.rng.shuffle(freezes)
    waves = [kills[first : first + _AT_ONCE] for first in range(0, len(kills), _AT_ONCE)]
    return [*waves, freezes[: 2 * _AT_ONCE], [world.faults.kill_up]]


@pytest.mark.timeout(_TIMEOUT_S)
async def test_random_faults_under_load(world: World, chaos: length.Length) -> None:
    waiting: list[list[Fault]] = []
    for number in chaos.rounds(short=1):
        world.ledger.note(f"round {number}")
        waiting = waiting or (_waves(world) if chaos.is_long else _few_waves(world))
        async with world.explained(), world.load():
            for wave in waiting[:_WAVES] if chaos.is_long else waiting:
                await asyncio.sleep(world.rng.uniform(0.1, 1.0))
                async with asyncio.TaskGroup() as tasks:
                    for fault in wave:
                        tasks.create_task(fault())  # type: ignore[arg-type]
        del waiting[:_WAVES]
        await world.check()
