"""Builds that push what they make, through bad days of the builder and of the registry."""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fnmesh.build.v1 import build_pb2 as builds
from fnmesh.build.v1 import build_service_pb2 as pb
from fnmesh.registry.v1 import function_pb2
from mesh.errors import Unavailable
from runtimes.spin.application import write
from tests.contract.build_svc.build_world import FINAL, HELLO, NO_DOCKER, Client, World, lines, running_world, zipped
from tests.integration.build_svc.test_build_restarts import followed, own_process
from tests.support import spin_tree
from tests.support.docker_registry import PASSWORD, USER, running_registry
from tests.support.eventually import eventually
from tests.support.registry_stub import RegistryStub, Trouble, running_stub

PROBE = zipped({"app.wasm": spin_tree.probe_wasm(), "spin.toml": write(spin_tree.APP)})
SECRET = "a-password-that-is-nowhere"


@pytest.fixture
def stub() -> Iterator[RegistryStub]:
    with running_stub() as running:
        running.user = f"me:{SECRET}"
        yield running


@pytest.fixture
async def alone(data_dir: Path, tmp_run_dir: Path) -> AsyncIterator[World]:
    """A registry of functions that runs, with a function for Spin, and a build_svc that does not run yet."""
    world = World(data_dir, tmp_run_dir, {"FNMESH_BUILD_LEASE_S": "2"}, NO_DOCKER)
    world.registry.functions["hello"].runtime = function_pb2.RUNTIME_SPIN
    world.registry.functions["hello"].target = function_pb2.TARGET_SPIN
    async with world.registry_running():
        try:
            yield world
        finally:
            world.remove_workshop()


async def pushed(client: Client, source: str, repository: str, **push: str) -> builds.Build:
    wanted = builds.Build(source_digest=source, push=builds.Push(repository=repository, **push))
    made: builds.Build = await client.stub.CreateBuild(pb.CreateBuildRequest(parent=HELLO, build=wanted))
    return made


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_a_push_goes_on_after_its_builder_was_stopped(
    alone: World, tmp_run_dir: Path, stub: RegistryStub, how: signal.Signals
) -> None:
    stub.troubles = [Trouble("^PUT .*manifests", 0, 99)]  # all blobs are there, and no answer comes any more
    address = f"unix:{tmp_run_dir}/build.sock"
    async with alone.client(address) as client:
        async with own_process(alone, address) as process:
            await eventually(client.serves)
            source = await client.upload("probe.zip", PROBE)
            made = await pushed(client, source, f"{stub.address}/made/up", username="me", password=SECRET)
            await eventually(lambda: stub.count("^PUT .*manifests"))
            process.send_signal(how)
            stub.troubles = []
            stub.released.set()
            await process.wait()
        assert not any(SECRET.encode() in path.read_bytes() for path in _files(alone))
        async with own_process(alone, address):
            build = await eventually(lambda: _ended(client, made.name, stub), 90, interval_s=0.2)
            events = await followed(client, made.name, time.monotonic() + 30)

    assert build.state == builds.BUILD_STATE_DONE, build.error
    assert build.push.image == f"{stub.address}/made/up:{build.push.tag or build.push.digest[7:15]}"
    assert build.push.digest in stub.manifests
    states = [event.state_change.state for event in events if event.HasField("state_change")]
    assert states[-2:] == [builds.BUILD_STATE_PUSHING, builds.BUILD_STATE_DONE]
    percents = [event.progress.percent for event in events if event.HasField("progress")]
    assert percents == sorted(percents)
    assert any("attempt 2 of 3" in line for line in lines(events)) is (how == signal.SIGKILL)
    assert SECRET not in str(events)


async def test_a_push_that_fails_keeps_what_was_built(alone: World, stub: RegistryStub) -> None:
    async with alone.build_svc() as client:
        source = await client.upload("probe.zip", PROBE)
        wrong = await pushed(client, source, f"{stub.address}/made/up", username="me", password="a wrong one")
        failed, events = await client.ended(wrong.name)
        right = await pushed(client, source, f"{stub.address}/made/up", username="me", password=SECRET, tag="v1")
        done, _ = await client.ended(right.name)
        found = await client.stub.ListBuilds(
            pb.ListBuildsRequest(parent="workspaces/-/functions/-", pushed_as=f"{stub.address}/made/up:v1")
        )

    assert (failed.state, failed.error) == (
        builds.BUILD_STATE_FAILED, f"registry refused the credentials for {stub.address}",
    )  # fmt: skip
    assert "wrong" not in "".join(lines(events))
    assert (done.state, done.cached) == (builds.BUILD_STATE_DONE, True), done.error
    assert done.push.image == f"{stub.address}/made/up:v1"
    assert [one.uid for one in found.builds] == [done.uid]


async def _ended(client: Client, name: str, stub: RegistryStub) -> builds.Build:
    """The build once it has ended; what it waits for, where it does not."""
    try:
        build = await client.get(name)
    except Unavailable:
        raise AssertionError("the builder does not serve yet") from None
    assert build.state in FINAL, (builds.Stage.Name(build.stage), build.percent, stub.seen[-5:])
    return build


def _files(world: World) -> list[Path]:
    root = Path(world.environ["FNMESH_DATA_DIR"])
    return [path for path in (root / "db").iterdir() if path.is_file()]


@pytest.mark.registry
async def test_a_docker_image_is_pushed_by_its_daemon(
    data_dir: Path, tmp_run_dir: Path, tmp_path: Path, docker_host: str, docker_python_image: str
) -> None:
    settings = {"FNMESH_BUILD_PYTHON_IMAGE": docker_python_image}
    with running_registry(tmp_path, user=True) as registry:
        async with running_world(data_dir, tmp_run_dir, docker_host=docker_host, **settings) as (world, client):
            world.registry.functions["hello"].target = function_pb2.TARGET_DOCKER
            source = await client.upload("handler.py", b"def handler(event):\n    return 1\n")
            made = await pushed(client, source, f"{registry.address}/hello", username=USER, password=PASSWORD)
            build, events = await client.ended(made.name)
            refused = await pushed(client, source, f"{registry.address}/hello", username=USER, password="wrong")
            failed, _ = await client.ended(refused.name)
        stored = registry.get(f"hello/manifests/{build.push.digest}")

    assert build.state == builds.BUILD_STATE_DONE, build.error
    image_id = build.artifact.reference.removeprefix("sha256:")
    assert build.push.image == f"{registry.address}/hello:{image_id[:8]}"
    assert f"sha256:{hashlib.sha256(stored.content).hexdigest()}" == build.push.digest
    assert stored.json()["config"]["digest"] == build.artifact.reference
    assert any(line.endswith(": Pushed") for line in lines(events))
    assert failed.error == f"registry refused the credentials for {registry.address}"
