"""Everything is killed at its worst moment: while it builds, publishes, reports, starts, drains, deletes, invokes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from tests.chaos import length
from tests.chaos.actors import PLAIN, Author, Source
from tests.chaos.callers import call
from tests.chaos.moments import Tables, when
from tests.chaos.world import World

Steps = Callable[["Scene"], Awaitable[None]]
_SLOW_LIBRARY_S = 1.5
_BALLAST_BYTES = 12 << 20


@dataclass
class Scene:
    """A world, its tables, and what is killed when the moment has come."""

    world: World
    tables: Tables
    victim: str

    async def strike(self) -> None:
        """Kills the victim; returns when it is back."""
        if self.victim == "up":
            await self.world.faults.kill_up()
        elif self.victim == "workload":
            await self.world.faults.kill_workload(self.author.story.name)
        else:
            await self.world.faults.kill_service(self.victim)

    @property
    def author(self) -> Author:
        return self.world.changing

    async def deploying(self, service: str, query: str, source: Source = PLAIN) -> None:
        """Deploys, strikes when the query of that service's tables finds something, waits for the deploy's end."""
        before = self.tables.value(service, f"SELECT count(*) FROM ({query})")
        deploy = await self.author.begin_deploy(source)
        assert deploy is not None, self.world.told("the deploy was not accepted")
        ending = asyncio.create_task(self.author.await_deploy(deploy, source))
        await when(lambda: self.tables.value(service, f"SELECT count(*) > {before} FROM ({query})"))
        await self.strike()
        await ending


async def while_libraries_install(scene: Scene) -> None:
    await scene.deploying(
        "build",
        "SELECT 1 FROM builds WHERE stage = 'INSTALL' AND state = 'BUILDING'",
        Source(slow_library_s=_SLOW_LIBRARY_S),
    )


async def while_the_artifact_is_published(scene: Scene) -> None:
    await scene.deploying("build", "SELECT 1 FROM builds WHERE state = 'PUSHING'", Source(ballast_bytes=_BALLAST_BYTES))


async def after_the_build_before_its_report(scene: Scene) -> None:
    await scene.deploying("build", "SELECT 1 FROM builds WHERE state = 'DONE'")


async def after_the_report_before_the_start(scene: Scene) -> None:
    await scene.deploying("registry", "SELECT 1 FROM revisions WHERE state = 2")


async def while_an_instance_starts(scene: Scene) -> None:
    query = "SELECT 1 FROM instances WHERE state = 'starting' AND handle != ''"
    await scene.deploying("deploy", query, Source(imports="time.sleep(1)"))


async def while_the_old_instance_drains(scene: Scene) -> None:
    name = scene.author.story.name
    slow = asyncio.create_task(call(scene.world.http, scene.world.ledger, name, takes_s=3))
    await scene.deploying("deploy", "SELECT 1 FROM instances WHERE state = 'draining'")
    await slow


async def while_a_function_is_deleted(scene: Scene) -> None:
    author = scene.world.coming_and_going
    await author.deploy()
    ledger, name = scene.world.ledger, author.story.name
    slow = asyncio.create_task(scene.world.http.get(f"/api/{name}", params={"s": "1"}))
    await asyncio.sleep(0.1)
    await author.delete()
    ledger.note(f"{name} is deleted with a request under way")
    await scene.strike()
    await asyncio.wait({slow})
    slow.exception()


async def while_it_builds_what_is_deleted_meanwhile(scene: Scene) -> None:
    author, query = scene.world.coming_and_going, "SELECT count(*) FROM builds WHERE stage = 'INSTALL'"
    before = scene.tables.value("build", query)
    assert await author.begin_deploy(Source(slow_library_s=_SLOW_LIBRARY_S)), scene.world.told("not accepted")
    await when(lambda: scene.tables.value("build", query) > before)
    await asyncio.gather(scene.strike(), author.delete())


async def while_requests_are_under_way(scene: Scene) -> None:
    world = scene.world
    async with asyncio.TaskGroup() as tasks:
        for _ in range(5):
            for function in world.called:
                tasks.create_task(call(world.http, world.ledger, function, takes_s=1))
        await asyncio.sleep(0.3)
        await scene.strike()


SHORT: list[tuple[Steps, str]] = [
    (while_libraries_install, "build"),
    (while_the_artifact_is_published, "build"),
    (while_it_builds_what_is_deleted_meanwhile, "build"),
    (while_an_instance_starts, "deploy"),
    (while_requests_are_under_way, "workload"),
]
LONG: list[tuple[Steps, str]] = SHORT + [
    (steps, victim)
    for steps, victims in (
        (while_libraries_install, "registry envoy gateway up"),
        (while_the_artifact_is_published, "registry deploy up"),
        (after_the_build_before_its_report, "build registry up"),
        (after_the_report_before_the_start, "registry deploy up"),
        (while_an_instance_starts, "registry build invoke up"),
        (while_the_old_instance_drains, "deploy registry invoke envoy up"),
        (while_a_function_is_deleted, "registry build deploy invoke up"),
        (while_requests_are_under_way, "registry build deploy invoke gateway envoy up"),
    )
    for victim in victims.split()
]
_CASES = LONG if length.chosen().is_long else SHORT


@pytest.mark.parametrize(("steps", "victim"), _CASES, ids=[f"{steps.__name__}-{victim}" for steps, victim in _CASES])
async def test_killed(world: World, steps: Steps, victim: str) -> None:
    scene = Scene(world, Tables(world.mesh.data_dir), victim)
    world.ledger.note(f"{steps.__name__}, {victim}")
    async with world.explained(), world.calls():
        await steps(scene)
    await world.check()
