"""Builds for clusters at a real registry: what is pushed, what is found again, what is deleted."""

from __future__ import annotations

import hashlib
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from fnmesh.build.v1 import build_pb2 as builds
from fnmesh.build.v1 import build_service_pb2 as pb
from fnmesh.registry.v1 import function_pb2, revision_pb2
from mesh.errors import FailedPrecondition, NotFound
from runtimes.spin import locked
from runtimes.spin.application import write
from tests.contract.build_svc.build_world import HELLO, NO_DOCKER, Client, World, lines, zipped
from tests.integration.build_svc.test_build_restarts import followed, own_process
from tests.support import spin_tree
from tests.support.docker_registry import PASSWORD, USER, DockerRegistry, running_registry
from tests.support.eventually import eventually
from tests.support.registry_stub import RegistryStub, Trouble, running_stub

PROBE = zipped({"app.wasm": spin_tree.probe_wasm(), "spin.toml": write(spin_tree.APP)})
HANDLER = b"def handler(event):\n    return 1\n"
REPOSITORY = "FNMESH_BUILD_CLUSTER_REPOSITORY"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    with running_registry(tmp_path_factory.mktemp("registry"), user=True) as running:
        yield running


@asynccontextmanager
async def building(
    root: Path,
    run_dir: Path,
    docker_config: Path,
    registry: DockerRegistry,
    *,
    docker_host: str = NO_DOCKER,
    **more: str,
) -> AsyncIterator[tuple[World, Client]]:
    """A builder that may push to the registry, and a function `hello` of the target kubernetes."""
    world = World(root, run_dir, {REPOSITORY: f"{registry.address}/made/for", **more}, docker_host)
    registry.log_in(docker_config)
    world.surroundings["DOCKER_CONFIG"] = str(docker_config)
    world.registry.functions["hello"].target = function_pb2.TARGET_KUBERNETES
    async with world.registry_running(), world.build_svc() as client:
        try:
            yield world, client
        finally:
            world.remove_workshop()


@pytest.fixture
async def spin(
    data_dir: Path, tmp_run_dir: Path, tmp_path: Path, registry: DockerRegistry
) -> AsyncIterator[tuple[World, Client]]:
    async with building(data_dir, tmp_run_dir, tmp_path, registry) as both:
        both[0].registry.functions["hello"].runtime = function_pb2.RUNTIME_SPIN
        yield both


def stored(registry: DockerRegistry, build: builds.Build) -> dict[str, Any]:
    """The manifest that an artifact refers to, which is the one that its digest says."""
    assert build.state == builds.BUILD_STATE_DONE, build.error
    assert build.artifact.kind == revision_pb2.ARTIFACT_KIND_IMAGE
    name, _, digest = build.artifact.reference.partition("@")
    path = name.removeprefix(f"{registry.address}/")
    assert path == "made/for/fn-hello"
    found = registry.get(f"{path}/manifests/{digest}")
    assert f"sha256:{hashlib.sha256(found.content).hexdigest()}" == digest
    assert registry.get(f"{path}/manifests/{build.uid}").content == found.content
    described: dict[str, Any] = found.json()
    return described


@pytest.mark.registry
async def test_a_component_is_pushed_as_spins_own_artifact(
    spin: tuple[World, Client], registry: DockerRegistry
) -> None:
    _, client = spin

    build, events = await client.build("probe.zip", PROBE)
    again, said = await client.build("probe.zip", PROBE)

    kinds = [layer["mediaType"] for layer in stored(registry, build)["layers"]]
    assert kinds[0] == locked.WASM_LAYER and kinds[-1] == locked.APPLICATION_LAYER
    assert f"Pushing to {registry.address}/made/for/fn-hello" in lines(events)
    assert again.cached and again.artifact == build.artifact
    assert not any(line.startswith("Pushing") for line in lines(said))


@pytest.mark.registry
async def test_a_component_for_this_machine_is_another_artifact(
    spin: tuple[World, Client], registry: DockerRegistry
) -> None:
    world, client = spin
    clustered, _ = await client.build("probe.zip", PROBE)
    world.registry.functions["hello"].target = function_pb2.TARGET_SPIN
    local, _ = await client.build("probe.zip", PROBE)

    assert local.artifact.kind == revision_pb2.ARTIFACT_KIND_WASM, local.error
    assert local.artifact.digest != clustered.artifact.digest


@pytest.mark.registry
async def test_what_was_deleted_at_the_registry_is_made_again(
    spin: tuple[World, Client], registry: DockerRegistry
) -> None:
    _, client = spin
    await client.build("probe.zip", PROBE)
    registry.forget("made/for/fn-hello")

    again, _ = await client.build("probe.zip", PROBE)

    assert not again.cached
    stored(registry, again)


@pytest.mark.registry
async def test_an_image_that_no_revision_has_any_more_is_deleted(
    data_dir: Path, tmp_run_dir: Path, tmp_path: Path
) -> None:
    soon = {"FNMESH_BUILD_GC_INTERVAL_S": "0.2", "FNMESH_BUILD_GC_GRACE_S": "600"}
    with running_registry(tmp_path / "deleting", user=True, deletes=True) as registry:
        async with building(data_dir, tmp_run_dir, tmp_path, registry, **soon) as (world, client):
            world.registry.functions["hello"].runtime = function_pb2.RUNTIME_SPIN
            build, _ = await client.build("probe.zip", PROBE)
            stored(registry, build)
            name, _, digest = build.artifact.reference.removeprefix(f"{registry.address}/").partition("@")
            pushed = await pushed_to(client, f"{registry.address}/theirs")
            theirs = await given(client, pushed.push.image)
            mine = {build.artifact.digest, pushed.artifact.digest, theirs.artifact.digest}
            await eventually(lambda: mine <= world.registry.live)

            world.registry.live.clear()

            await eventually(lambda: registry.get(f"{name}/manifests/{digest}").status_code == 404)
            await eventually(lambda: not trash(world))
        assert registry.get(f"theirs/manifests/{pushed.push.digest}").status_code == 200


def trash(world: World) -> list[object]:
    """What is still to be deleted."""
    path = Path(world.environ["FNMESH_DATA_DIR"]) / "db" / "build.db"
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT kind, reference FROM trash").fetchall()


async def pushed_to(client: Client, repository: str) -> builds.Build:
    """The end of a build that is only pushed."""
    source = await client.upload("probe.zip", PROBE)
    push = builds.Push(repository=repository, username=USER, password=PASSWORD)
    wanted = builds.Build(source_digest=source, push=push)
    made = await client.stub.CreateBuild(pb.CreateBuildRequest(parent=HELLO, build=wanted))
    build, _ = await client.ended(made.name)
    assert build.state == builds.BUILD_STATE_DONE, build.error
    return build


async def given(client: Client, image: str) -> builds.Build:
    """The end of a build that takes an image as it is."""
    wanted = builds.Build(image=image, deploy=True)
    made = await client.stub.CreateBuild(pb.CreateBuildRequest(parent=HELLO, build=wanted))
    build, _ = await client.ended(made.name)
    assert build.state == builds.BUILD_STATE_DONE, build.error
    return build


@pytest.mark.registry
async def test_an_image_is_taken_as_it_is(spin: tuple[World, Client], registry: DockerRegistry) -> None:
    world, client = spin
    world.registry.functions["hello"].runtime = function_pb2.RUNTIME_UNSPECIFIED
    built, _ = await client.build("probe.zip", PROBE)
    name, _, digest = built.artifact.reference.partition("@")

    told = await client.stub.ResolveImage(pb.ResolveImageRequest(image=f"{name}:{built.uid}"))
    by_tag = await given(client, f"{name}:{built.uid}")
    again = await given(client, f"{name}@{digest}")

    assert by_tag.artifact.reference == by_tag.image == built.artifact.reference
    assert by_tag.artifact.kind == revision_pb2.ARTIFACT_KIND_IMAGE and not by_tag.source_digest
    assert again.cached and again.artifact == by_tag.artifact
    assert (told.image, told.runtime) == (by_tag.image, function_pb2.RUNTIME_SPIN)
    assert world.registry.revisions[by_tag.revision].runtime == function_pb2.RUNTIME_SPIN
    with pytest.raises(NotFound) as missing:
        await given(client, f"{name}:nothing")
    assert missing.value.reason == "IMAGE_NOT_FOUND"


@pytest.mark.registry
async def test_an_image_of_our_own_is_known_where_its_registry_knows_nobody(
    spin: tuple[World, Client], registry: DockerRegistry, tmp_path: Path
) -> None:
    world, client = spin
    pushed = await pushed_to(client, f"{registry.address}/theirs")
    assert pushed.artifact.kind == revision_pb2.ARTIFACT_KIND_WASM  # nobody deploys it here
    (tmp_path / "config.json").unlink()

    found = await given(client, pushed.push.image)

    assert found.artifact.reference == f"{registry.address}/theirs@{pushed.push.digest}"
    assert world.registry.revisions[found.revision].runtime == function_pb2.RUNTIME_SPIN
    with pytest.raises(FailedPrecondition) as refused:
        await given(client, f"{registry.address}/theirs:unknown")
    assert refused.value.reason == "REGISTRY_REFUSED"


@pytest.mark.registry
async def test_a_docker_image_is_pushed_for_the_cluster(
    data_dir: Path, tmp_run_dir: Path, tmp_path: Path, docker_host: str, docker_python_image: str
) -> None:
    image = {"FNMESH_BUILD_PYTHON_IMAGE": docker_python_image}
    with running_registry(tmp_path / "registry", user=True) as registry:
        where = building(data_dir, tmp_run_dir, tmp_path, registry, docker_host=docker_host, **image)
        async with where as (world, client):
            build, events = await client.build("handler.py", HANDLER)
            config = stored(registry, build)["config"]["digest"]
            labels = registry.get(f"made/for/fn-hello/blobs/{config}").json()["config"]["Labels"]
            with pytest.raises(FailedPrecondition) as other:
                await given(client, build.artifact.reference)
            push = builds.Push(repository=f"{registry.address}/ours")
            wanted = builds.Build(source_digest=build.source_digest, push=push)
            made = await client.stub.CreateBuild(pb.CreateBuildRequest(parent=HELLO, build=wanted))
            pushed, _ = await client.ended(made.name)
            ours = await given(client, pushed.push.image)

    assert labels["fnmesh.made-by"] == build.uid
    assert build.artifact.entry_file == "handler.py" and build.artifact.size_bytes > 0
    assert any(line.endswith(": Pushed") for line in lines(events))
    assert world.registry.revisions[build.revision].runtime == function_pb2.RUNTIME_PYTHON
    assert other.value.reason == "IMAGE_INVALID"
    assert ours.artifact.reference == f"{registry.address}/ours@{pushed.push.digest}"
    assert ours.artifact.entry_file == "handler.py"
    assert world.registry.revisions[ours.revision].runtime == function_pb2.RUNTIME_PYTHON


async def test_a_builder_that_was_killed_pushes_again(data_dir: Path, tmp_run_dir: Path) -> None:
    address = f"unix:{tmp_run_dir}/build.sock"
    with running_stub() as stub:
        settings = {REPOSITORY: f"{stub.address}/made/up", "FNMESH_BUILD_LEASE_S": "2"}
        world = World(data_dir, tmp_run_dir, settings, NO_DOCKER)
        world.registry.functions["hello"].target = function_pb2.TARGET_KUBERNETES
        world.registry.functions["hello"].runtime = function_pb2.RUNTIME_SPIN
        stub.troubles = [Trouble("^PUT .*manifests", 0, 99)]  # all blobs are there, and no answer comes any more
        async with world.registry_running(), world.client(address) as client:
            try:
                build, events = await killed_meanwhile(world, address, client, stub)
            finally:
                world.remove_workshop()

    assert build.state == builds.BUILD_STATE_DONE, build.error
    assert build.artifact.reference.startswith(f"{stub.address}/made/up/fn-hello@sha256:")
    assert {build.artifact.reference.partition("@")[2], build.uid} == set(stub.manifests)
    assert "It was built before the builder was stopped; only the push is left to do." in lines(events)


async def killed_meanwhile(
    world: World, address: str, client: Client, stub: RegistryStub
) -> tuple[builds.Build, list[builds.BuildEvent]]:
    async with own_process(world, address) as process:
        await eventually(client.serves)
        made = await client.create(await client.upload("probe.zip", PROBE))
        await eventually(lambda: stub.count("^PUT .*manifests"))
        process.send_signal(signal.SIGKILL)
        stub.troubles = []
        stub.released.set()
        await process.wait()
    async with own_process(world, address):
        events = await followed(client, made.name, time.monotonic() + 90)
        return await client.get(made.name), events
