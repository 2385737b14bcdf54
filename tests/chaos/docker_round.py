"""Rounds with a Docker daemon that is killed and stopped: `python -m tests.chaos.docker_round ROOT`, in its network.

A program of its own because the daemon of the suite lives in a network namespace (tests/support/docker_daemon.py):
mesh, clients and daemon are all in there. Prints the timeline and what went wrong; its exit status is 1 then.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.chaos import length, offline_image
from tests.chaos.actors import Source
from tests.chaos.callers import call
from tests.chaos.faults import AFTERMATH_S, BACK_WITHIN_S, frozen
from tests.chaos.ledger import CALLS, CONTROL, Ledger
from tests.chaos.moments import Tables, when
from tests.chaos.world import ENVIRON, World, opened
from tests.support import processes
from tests.support.docker_daemon import DockerDaemon
from tests.support.eventually import eventually
from tests.support.running_mesh import RunningMesh

Step = Callable[[], Awaitable[None]]


class DaemonFaults:
    """What is done to the daemon, and when."""

    def __init__(self, world: World, daemon: DockerDaemon) -> None:
        self._world = world
        self._daemon = daemon
        self._tables = Tables(world.mesh.data_dir)

    async def kill(self, meanwhile: Awaitable[object] | None = None) -> None:
        """SIGKILL to dockerd, and a new one once `meanwhile` is done: containers go on, and no request fails.

        Except those that a container has in the moment in which the new one starts: it sets up the published ports
        anew, which cuts their connections.
        """
        ledger, pid = self._world.ledger, self._daemon.pid()
        assert pid is not None, "there is no dockerd"
        with ledger.disturbance(f"kill -9 dockerd ({pid})", (CONTROL,)) as dead:
            os.kill(pid, signal.SIGKILL)
            await eventually(lambda: not processes.is_running(pid), 10)
            await (meanwhile or asyncio.sleep(self._world.rng.uniform(0, 2)))
            with ledger.disturbance("start dockerd", (CALLS,)) as start:
                await asyncio.to_thread(self._daemon.start)
                await eventually(self._daemon.answers, BACK_WITHIN_S)
                start.ended = ledger.now() + AFTERMATH_S
            dead.ended = ledger.now() + AFTERMATH_S

    async def freeze(self) -> None:
        """SIGSTOP to dockerd for a moment: no request fails, nor does a change."""
        pid = self._daemon.pid()
        assert pid is not None, "there is no dockerd"
        with self._world.ledger.disturbance(f"stop dockerd ({pid}) for 3 s"), frozen(pid):
            await asyncio.sleep(3)

    async def kill_while(self, service: str, query: str, strike: Step, source: Source) -> None:
        """Deploys, and strikes when that service's tables say that the moment has come."""
        author, ledger = self._world.changing, self._world.ledger
        before = self._tables.value(service, f"SELECT count(*) FROM ({query})")
        deploy = await author.begin_deploy(source)
        assert deploy is not None, self._world.told("the deploy was not accepted")
        ending = asyncio.create_task(author.await_deploy(deploy, source))
        await when(lambda: self._tables.value(service, f"SELECT count(*) > {before} FROM ({query})"))
        ledger.note(f"the moment: {query}")
        await strike()
        await ending

    def moments(self) -> list[Step]:
        """dockerd, build_svc and deploy_svc killed while an image is made and while a container starts."""
        faults, found = self._world.faults, list[Step]()
        building = "SELECT 1 FROM builds WHERE state = 'BUILDING' AND stage = 'CHECK'"
        starting = "SELECT 1 FROM instances WHERE state = 'starting'"
        slow, plain = Source(imports="time.sleep(1)"), Source()
        for service, query, source, victims in (
            ("build", building, plain, (self.kill, lambda: faults.kill_service("build"))),
            ("deploy", starting, slow, (self.kill, lambda: faults.kill_service("deploy"))),
        ):
            for strike in victims:
                found.append(
                    lambda service=service, query=query, strike=strike, source=source: self.kill_while(  # type: ignore[misc]
                        service, query, strike, source
                    )
                )
        return found


async def go(world: World, daemon: DockerDaemon, form: length.Length) -> None:
    """All the rounds."""
    done = DaemonFaults(world, daemon)
    for number in form.rounds(short=1):
        world.ledger.note(f"round {number}")
        async with world.explained():
            async with world.load(callers=2):
                for fault in (done.kill, done.freeze):
                    await asyncio.sleep(world.rng.uniform(0.2, 1))
                    await fault()
            await world.check()
            moments = done.moments()
            for moment in moments if form.is_long else moments[2:3]:
                async with world.calls(callers=2):
                    await moment()
            await done.kill(call(world.http, world.ledger, world.steady.story.name, takes_s=1))
            await world.check()


async def main(root: Path) -> None:
    """Makes base image and mesh, and runs the rounds. Raises AssertionError with the timeline."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    form = length.chosen()
    daemon = DockerDaemon(root, own_network=True)
    image = offline_image.ensure(daemon.url)
    there = {"DOCKER_HOST": daemon.url, "FNMESH_BUILD_PYTHON_IMAGE": image}
    mesh = RunningMesh(environ={**ENVIRON, **offline_image.PIP, **there})
    try:
        await asyncio.to_thread(mesh.start)
        ledger, rng = Ledger(form.seed, echo=form.is_long), random.Random(form.seed)
        async with opened(mesh, ledger, rng, target="docker", docker_url=daemon.url) as world:
            await go(world, daemon, form)
        assert mesh.stop() == 0, mesh.errors()
        assert mesh.processes() == [], mesh.processes()
        if not form.is_long:
            print(ledger.timeline())
    finally:
        mesh.remove()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
