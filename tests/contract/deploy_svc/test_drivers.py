"""What every driver promises: the same cases against processes and containers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deploy_svc.app import open_drivers
from deploy_svc.domain import Artifact, ArtifactKind, Limits, LogStream, Runtime, Target, Workload
from deploy_svc.frames import parse_line
from deploy_svc.ports import Driver, InstanceSpec, Observed, OutputLine
from deploy_svc.prober import HttpProber
from mesh.errors import FailedPrecondition
from mesh.ids import new_id
from tests.support import function_image, processes
from tests.support.deploy_harness import DeployHarness, Revision, harness
from tests.support.eventually import eventually

CODE = """
import os, sys
print("hello from import", flush=True)
if os.environ.get("DIE"):
    os._exit(int(os.environ["DIE"]))
hoard = []
def handler(event):
    if event["rawPath"].endswith("/die"):
        os._exit(7)
    if event["rawPath"].endswith("/eat"):
        while True:
            hoard.append(b"x" * (1 << 20))
    return os.environ.get("WORD", "")
"""
LIMITS = Limits(memory_bytes=64 << 20, cpu_millis=100_000_000, timeout_ms=5000, concurrency=2)


@pytest.fixture(scope="session")
def image(docker_host: str, docker_python_image: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    scratch = tmp_path_factory.mktemp("server")
    return function_image.build(docker_host, docker_python_image, {"handler.py": CODE}, scratch)


class World:
    """A driver, how to make another one of the same mesh, and workloads for it."""

    def __init__(self, mesh: DeployHarness, target: Target, artifact: Artifact) -> None:
        self.mesh, self.target = mesh, target
        self.artifact = artifact

    def spec(self, **env: str) -> InstanceSpec:
        workload = Workload(
            function_uid="fn-abcdefghijkl",
            function_name="hello",
            revision=3,
            runtime=Runtime.PYTHON,
            target=self.target,
            artifact=self.artifact,
            limits=LIMITS,
            handler="handler",
            event_format="v2",
            env=env,
        )
        return InstanceSpec(new_id("in-"), workload, slot=0)


@pytest.fixture(params=[Target.PROCESS, pytest.param(Target.DOCKER, marks=pytest.mark.docker)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    docker = request.param is Target.DOCKER
    host = request.getfixturevalue("docker_host") if docker else "unix:///nowhere/docker.sock"
    async with harness(host) as mesh:
        await mesh.revision("fn-abcdefghijkl", 3, Revision({"app/handler.py": CODE}))
        made = mesh.registry.workloads["fn-abcdefghijkl", 3].revision.artifact
        artifact = Artifact(made.digest, ArtifactKind.TREE, made.reference, 1, "handler.py")
        if docker:
            artifact = replace(artifact, kind=ArtifactKind.IMAGE, reference=request.getfixturevalue("image"))
        yield World(mesh, request.param, artifact)


@pytest.fixture
async def driver(world: World) -> AsyncIterator[Driver]:
    async with open_drivers(world.mesh.load_settings(), asyncio.Event()) as drivers, asyncio.TaskGroup() as tasks:
        own = drivers[world.target]
        running = tasks.create_task(own.run())
        yield own
        running.cancel()


async def started(driver: Driver, spec: InstanceSpec) -> str:
    address = (await driver.start(spec)).address

    async def ready() -> bool:
        return (await HttpProber().ready(address, 5)).ready

    await eventually(ready)
    return address


async def ended(driver: Driver, uid: str) -> Observed:
    async def gone() -> Observed | None:
        seen = (await driver.observe())[uid]
        return seen if seen.exit is not None else None

    found = await eventually(gone, 20)
    assert found is not None
    return found


async def request(address: str, path: str) -> bytes:
    if address.startswith("unix:"):
        reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
    else:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    try:
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def all_output(driver: Driver, uid: str, position: int = 0) -> list[OutputLine]:
    return [line async for lines in driver.output(uid, position) for line in lines]


async def test_can_be_used(driver: Driver) -> None:
    health = await driver.check()
    assert health.available, health.message


async def test_start_serves_until_stop(world: World, driver: Driver) -> None:
    spec = world.spec(WORD="swordfish")
    address = await started(driver, spec)
    assert b"swordfish" in await request(address, "/api/x")
    seen = (await driver.observe())[spec.uid]
    assert seen.exit is None and seen.address == address and seen.handle
    await driver.stop(spec.uid, 2)
    assert (await driver.observe())[spec.uid].exit is not None
    await driver.remove(spec.uid)
    assert spec.uid not in await driver.observe()


async def test_the_same_instance_is_started_once(world: World, driver: Driver) -> None:
    spec = world.spec()
    first, second = await driver.start(spec), await driver.start(spec)
    assert first == second
    assert list(await driver.observe()) == [spec.uid]


async def test_stop_and_remove_may_be_repeated(world: World, driver: Driver) -> None:
    spec = world.spec()
    await driver.stop(spec.uid, 1)
    await driver.remove(spec.uid)
    await driver.start(spec)
    for call in (lambda: driver.stop(spec.uid, 0), lambda: driver.remove(spec.uid)):
        await twice(call)
    assert await driver.observe() == {}


async def twice(call: Callable[[], Awaitable[None]]) -> None:
    await call()
    await call()


@pytest.mark.parametrize("world", [Target.PROCESS], indirect=True)
async def test_an_instance_whose_start_is_cancelled_half_way_can_be_stopped(world: World, driver: Driver) -> None:
    for _ in range(5):
        spec = world.spec()
        home = world.mesh.run / "i" / spec.uid
        starting = asyncio.ensure_future(driver.start(spec))
        await eventually(home.exists, interval_s=0)
        starting.cancel()
        starting.cancel()
        await asyncio.wait([starting])
        assert list(await driver.observe()) == [spec.uid]

        await driver.stop(spec.uid, 0)
        await driver.remove(spec.uid)

        assert processes.working_in(home) == []
        assert await driver.observe() == {}


async def test_exit_codes_are_seen(world: World, driver: Driver) -> None:
    spec = world.spec(DIE="42")
    await driver.start(spec)
    seen = await ended(driver, spec.uid)
    assert seen.exit is not None and seen.exit.code == 42
    assert seen.exit.sentence == "It exited with code 42."


async def test_out_of_memory_is_named(world: World, driver: Driver) -> None:
    spec = world.spec()
    address = await started(driver, spec)
    async with asyncio.TaskGroup() as tasks:
        eating = tasks.create_task(request(address, "/api/eat"))
        seen = await ended(driver, spec.uid)
        eating.cancel()
    assert seen.exit is not None and seen.exit.out_of_memory
    assert seen.exit.sentence.startswith("Out of memory") and "64 MiB" in seen.exit.sentence


async def test_output_is_read_to_its_end_and_resumed(world: World, driver: Driver) -> None:
    spec = world.spec()
    address = await started(driver, spec)
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(all_output(driver, spec.uid))
        await request(address, "/api/die")
        lines = await asyncio.wait_for(reading, 20)
    parsed = [parse_line(line.text, line.stream) for line in lines]
    assert ("hello from import", LogStream.STDOUT) in [(p.text, p.stream) for p in parsed]
    assert await all_output(driver, spec.uid, lines[-1].position) == []
    assert await all_output(driver, "in-aaaaaaaaaaaa") == []


async def test_a_new_driver_of_the_mesh_sees_what_runs(world: World, driver: Driver) -> None:
    spec = world.spec()
    before = await driver.start(spec)
    async with open_drivers(world.mesh.load_settings(), asyncio.Event()) as others:
        other = others[world.target]
        seen = (await other.observe())[spec.uid]
        assert (seen.handle, seen.address, seen.exit) == (before.handle, before.address, None)
        await other.stop(spec.uid, 0)
        await ended(driver, spec.uid)


async def test_another_mesh_sees_nothing_of_it(world: World, driver: Driver) -> None:
    await driver.start(world.spec())
    host = world.mesh.settings["FNMESH_DEPLOY_DOCKER_HOST"]
    async with harness(host) as other, open_drivers(other.load_settings(), asyncio.Event()) as drivers:
        assert await drivers[world.target].observe() == {}


async def test_the_wrong_kind_of_artifact_is_refused(world: World, driver: Driver) -> None:
    spec = world.spec()
    other = ArtifactKind.IMAGE if world.target is Target.PROCESS else ArtifactKind.TREE
    workload = replace(spec.workload, artifact=replace(spec.workload.artifact, kind=other))
    with pytest.raises(FailedPrecondition) as refused:
        await driver.start(replace(spec, workload=workload))
    assert refused.value.reason == "ARTIFACT_KIND"


async def test_nothing_secret_is_shown(world: World, driver: Driver) -> None:
    spec = world.spec(PASSWORD="hunter2")
    started_ = await driver.start(spec)
    assert "hunter2" not in repr(spec)
    if world.target is Target.PROCESS:
        pid = started_.handle.partition("@")[0]
        command = await asyncio.to_thread(Path(f"/proc/{pid}/cmdline").read_bytes)
        assert b"hunter2" not in command
