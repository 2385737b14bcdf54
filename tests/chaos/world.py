"""One mesh under load: clients that change it and call it, faults, and the comparison afterwards."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from fnmesh.client import AsyncMesh, FnmeshError
from tests.chaos.actors import Author, KeyMaker, keep_changing, keep_making_keys
from tests.chaos.callers import keep_calling, keep_invoking
from tests.chaos.checker import violations
from tests.chaos.faults import Faults
from tests.chaos.ledger import Ledger
from tests.chaos.observing import observe
from tests.support.replicated_mesh import ReplicatedMesh
from tests.support.running_mesh import RunningMesh

ENVIRON = {
    "FNMESH_BUILD_LEASE_S": "2",  # so that a build goes on soon after its worker was killed
    "FNMESH_BUILD_GC_INTERVAL_S": "2",
    "FNMESH_BUILD_GC_GRACE_S": "4",
    "FNMESH_DEPLOY_WATCHER_GRACE_S": "3",
}
SETTLES_WITHIN_S = 60.0
_LOG_LINES, _LOG_WIDTH = 8, 240
STEADY, CHANGING, COMING_AND_GOING = "steady", "changing", "coming-and-going"


class World:
    """What a chaos test works with. Made by `opened`."""

    def __init__(
        self,
        mesh: RunningMesh | ReplicatedMesh,
        ledger: Ledger,
        rng: random.Random,
        client: AsyncMesh,
        http: httpx.AsyncClient,
        *,
        target: str,
        docker_url: str,
    ) -> None:
        self.mesh, self.ledger, self.rng, self.client, self.http = mesh, ledger, rng, client, http
        self.steady, self.changing, self.coming_and_going = (
            Author(client, ledger, name, target=target) for name in (STEADY, CHANGING, COMING_AND_GOING)
        )
        if isinstance(mesh, RunningMesh):
            self.faults = Faults(mesh, ledger, client, http, self.steady.story.name)
        self._docker_url = docker_url

    async def populate(self) -> None:
        """Deploys the functions that are always there."""
        for author in (self.steady, self.changing):
            if not author.story.edition:
                assert await author.deploy(), self.told("the first deploy failed")

    @property
    def called(self) -> Sequence[str]:
        """The functions that have to answer at any time."""
        return (self.steady.story.name, self.changing.story.name)

    @asynccontextmanager
    async def load(self, *, callers: int = 3) -> AsyncIterator[None]:
        """Clients change and call things meanwhile; what they have begun is finished before the context is left."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks, self.calls(callers=callers):
            for author, deletes in ((self.changing, False), (self.coming_and_going, True)):
                tasks.create_task(keep_changing(author, self._dice(), stop, deletes=deletes))
            tasks.create_task(keep_making_keys(KeyMaker(self.client, self.ledger), self._dice(), stop))
            try:
                yield
            finally:
                stop.set()

    @asynccontextmanager
    async def calls(self, *, callers: int = 3) -> AsyncIterator[None]:
        """Clients call things meanwhile."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(keep_invoking(self.client, self.ledger, self.called, self._dice(), stop))
            for _ in range(callers):
                tasks.create_task(keep_calling(self.http, self.ledger, self.called, self._dice(), stop))
            try:
                yield
            finally:
                stop.set()

    async def check(self, within_s: float = SETTLES_WITHIN_S) -> None:
        """Compares what was told with what is there, until they agree. AssertionError with the timeline if not."""
        loop = asyncio.get_running_loop()
        ends, before = loop.time() + within_s, list[str]()
        self.ledger.note("checking")
        while True:
            if self.ledger.unexplained():
                within_s = ends = 0.0  # waiting does not make that good
            try:
                found = violations(self.ledger, await observe(self.mesh, self.client, self.http, self._docker_url))
            except FnmeshError as error:
                found = [f"the mesh cannot be observed: {error}"]
            if not found:
                self.ledger.note("all as told")
                return
            if found != before:
                self.ledger.note(f"  not yet: {'; '.join(found)}")
                before = found
            if loop.time() > ends:
                raise AssertionError(self.told(f"after {within_s:g} s:\n  " + "\n  ".join(found)))
            await asyncio.sleep(0.2)

    def told(self, what: str) -> str:
        """The message of a failed test: what is wrong, what was done, and the ends of the logs."""
        logs = [log for log in sorted((self.mesh.data_dir / "logs").glob("*.log")) if not log.name.startswith("in-")]
        tails = "\n".join(f"-- {log.name}\n{_end_of(log)}" for log in logs)
        return (
            f"{what}\n\n`fnmesh up`\n{self.mesh.errors()[-2000:]}\n\n{tails}\n\n"
            f"timeline\n{self.ledger.timeline()}\n\n(again) {what}"
        )

    @asynccontextmanager
    async def explained(self) -> AsyncIterator[None]:
        """What goes wrong within comes out with the timeline."""
        first: BaseException | None = None
        try:
            yield
        except* Exception as group:
            first = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        if isinstance(first, AssertionError) and "timeline" in str(first):
            raise first from None
        if first is not None:
            raise AssertionError(self.told(f"{type(first).__name__}: {first}")) from first

    def _dice(self) -> random.Random:
        return random.Random(self.rng.random())


def _end_of(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
    return "\n".join(line[:_LOG_WIDTH] for line in lines)


@asynccontextmanager
async def opened(
    mesh: RunningMesh | ReplicatedMesh,
    ledger: Ledger,
    rng: random.Random,
    *,
    target: str = "process",
    docker_url: str = "",
) -> AsyncIterator[World]:
    """A world on a running mesh, with the functions that are always there."""
    limits = httpx.Limits(max_connections=50)
    async with (
        AsyncMesh(mesh.server) as client,
        httpx.AsyncClient(base_url=mesh.url, timeout=60, trust_env=False, limits=limits) as http,
    ):
        world = World(mesh, ledger, rng, client, http, target=target, docker_url=docker_url)
        try:
            await world.populate()
            yield world
        finally:
            for author in (world.steady, world.changing, world.coming_and_going):
                author.close()
