"""build_svc stopped and killed in the middle of a build: nothing is lost, nothing is told twice."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fnmesh.build.v1 import build_pb2 as builds
from mesh.errors import MeshError, NotFound, Unavailable
from tests.contract.build_svc.build_world import FINAL, NO_DOCKER, Client, World, lines, zipped
from tests.integration.build_svc import slow_library
from tests.support import processes, spin_toolchain
from tests.support.eventually import eventually

ROOT = Path(__file__).parents[3]
LEASE = {"FNMESH_BUILD_LEASE_S": "2"}


@pytest.fixture
async def alone(data_dir: Path, tmp_run_dir: Path) -> AsyncIterator[World]:
    """A registry that runs, and a build_svc that does not yet."""
    world = World(data_dir, tmp_run_dir, LEASE, NO_DOCKER)
    async with world.registry_running():
        yield world


@asynccontextmanager
async def own_process(world: World, address: str) -> AsyncIterator[asyncio.subprocess.Process]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("FNMESH_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "build_svc",
        cwd=ROOT,
        env={**environ, **world.environ, "FNMESH_BUILD_ADDRESS": address, "DOCKER_HOST": NO_DOCKER},
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def followed(
    client: Client, name: str, until: float, seen: list[builds.BuildEvent] | None = None
) -> list[builds.BuildEvent]:
    """All events, also in `seen` as they come; the stream is taken up again whenever it breaks."""
    events = [] if seen is None else seen
    while time.monotonic() < until:
        try:
            async for event in client.watch(name, events[-1].sequence if events else 0):
                events.append(event)
            return events
        except Unavailable:
            await asyncio.sleep(0.05)
    raise AssertionError(f"no end after {len(events)} events")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_a_build_goes_on_after_its_service_was_stopped(
    alone: World, tmp_run_dir: Path, how: signal.Signals
) -> None:
    address = f"unix:{tmp_run_dir}/build.sock"
    until_then = f"time.sleep(max(0, {time.time() + 6} - time.time()))"
    source = zipped(slow_library.source(until_then))
    async with alone.client(address) as client:
        async with own_process(alone, address) as process:
            await eventually(lambda: _up(client), 20)
            made = await client.create(await client.upload("a.zip", source), request_id="once")
            watching = asyncio.create_task(followed(client, made.name, time.monotonic() + 40))
            await eventually(lambda: _installs(client, made.name))
            process.send_signal(how)
            await process.wait()
        async with own_process(alone, address):
            events = await watching
            again = await client.create(made.source_digest, request_id="once")

    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert events[-1].state_change.state == builds.BUILD_STATE_DONE, events[-1].state_change.build.error
    assert sum(event.state_change.state in FINAL for event in events if event.HasField("state_change")) == 1
    assert any("attempt 2 of 3" in line for line in lines(events)) is (how == signal.SIGKILL)
    assert again.uid == made.uid
    assert len(alone.registry.revisions) == 1


@pytest.mark.timeout(420)  # it may have to install the toolchain first
@pytest.mark.parametrize(
    "stages",
    [
        (builds.STAGE_CHECK, builds.STAGE_COMPONENTIZE),
        (builds.STAGE_UNPACK, builds.STAGE_VALIDATE),
        (builds.STAGE_COMPILE, builds.STAGE_PUSH),
    ],
    ids=["code", "component", "compiled"],
)
async def test_a_component_is_made_whatever_stage_its_builder_is_killed_in(
    alone: World, tmp_run_dir: Path, data_dir: Path, spin_home: Path, stages: tuple[int, ...]
) -> None:
    spin_toolchain.lend(spin_home, data_dir / "work", cache=False)
    alone.environ |= {"FNMESH_BUILD_WORK_DIR": str(data_dir / "work")}
    if builds.STAGE_COMPILE not in stages:
        alone.environ["FNMESH_WORKLOAD_SPIN_HOST"] = "/nowhere"
    files: dict[str, str | bytes] = dict(spin_toolchain.hello())
    if builds.STAGE_CHECK not in stages:  # brought along
        files = {"spin.toml": files["spin.toml"], "app.wasm": spin_toolchain.component(spin_home)}
    address = f"unix:{tmp_run_dir}/build.sock"
    seen: list[builds.BuildEvent] = []
    async with alone.client(address) as client, asyncio.TaskGroup() as tasks:
        name = ""
        for stage in stages:
            async with own_process(alone, address) as process:
                await eventually(lambda: _up(client), 20)
                if not name:
                    name = (await client.create(await client.upload("app.zip", zipped(files)))).name
                    watching = tasks.create_task(followed(client, name, time.monotonic() + 300, seen=seen))
                await eventually(lambda stage=stage: _has_begun(seen, stage), 90, interval_s=0.01)
                process.kill()
                await process.wait()
            await eventually(lambda: not processes.working_in(data_dir))
        async with own_process(alone, address):
            events = await watching

    assert events[-1].state_change.state == builds.BUILD_STATE_DONE, events[-1].state_change.build.error
    assert sum(event.state_change.state in FINAL for event in events if event.HasField("state_change")) == 1
    if {builds.STAGE_COMPONENTIZE, builds.STAGE_COMPILE} & {*stages}:  # others may be over before the signal comes
        assert any("attempt 2 of 3" in line for line in lines(events))
    percents = [event.progress.percent for event in events if event.WhichOneof("event") == "progress"]
    assert percents == sorted(percents)


@pytest.mark.postgres
async def test_two_processes_on_one_database_share_the_work(
    data_dir: Path, tmp_run_dir: Path, postgres_url: str
) -> None:
    database = postgres_url.replace("postgresql+asyncpg", "postgresql")
    world = World(data_dir, tmp_run_dir, {**LEASE, "FNMESH_DATABASE_URL": database}, NO_DOCKER)
    one, two = f"unix:{tmp_run_dir}/one.sock", f"unix:{tmp_run_dir}/two.sock"
    async with (
        world.registry_running(),
        own_process(world, one),
        own_process(world, two),
        world.client(one) as first,
        world.client(two) as second,
    ):
        await eventually(lambda: _up(first), 20)
        await eventually(lambda: _up(second), 20)
        made = []
        for number in range(6):
            code = f"def handler(event): return {number}\n".encode()
            made.append(await first.create(await first.upload("handler.py", code)))
        ended = [await second.ended(build.name) for build in made]

    for build, events in ended:
        assert build.state == builds.BUILD_STATE_DONE, build.error
        assert sum(event.state_change.state == builds.BUILD_STATE_BUILDING for event in events) == 1
    assert len({report.revision for report in world.registry.reports}) == 6


async def _up(client: Client) -> bool:
    try:
        await client.get("builds/none")
    except NotFound:
        return True
    except MeshError:
        return False
    return True


def _has_begun(seen: list[builds.BuildEvent], stage: int) -> bool:
    """Whether the build has come to that stage."""
    return any(event.progress.stage == stage for event in seen if event.HasField("progress"))


async def _installs(client: Client, name: str) -> bool:
    return (await client.get(name)).stage == builds.STAGE_INSTALL
