"""Builds for clusters: what is refused before anything is built or pushed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fnmesh.build.v1 import build_pb2 as builds
from fnmesh.build.v1 import build_service_pb2 as pb
from fnmesh.registry.v1 import function_pb2
from mesh.errors import FailedPrecondition, InvalidArgument, Unavailable
from mesh.settings import SettingsError
from tests.contract.build_svc.build_world import HELLO, Client, World, running_world
from tests.support.errors_page import answers

HANDLER = b"def handler(event):\n    return 1\n"
SAID = answers("Functions on a cluster")


async def create(client: Client, **build: Any) -> builds.Build:
    made: builds.Build = await client.stub.CreateBuild(pb.CreateBuildRequest(parent=HELLO, build=builds.Build(**build)))
    return made


@pytest.fixture
def clustered(world: World) -> World:
    """`hello` is to run on a cluster."""
    world.registry.functions["hello"].target = function_pb2.TARGET_KUBERNETES
    return world


async def test_without_a_repository_nothing_is_built(clustered: World, client: Client) -> None:
    digest = await client.upload("handler.py", HANDLER)

    with pytest.raises(FailedPrecondition) as refused:
        await create(client, source_digest=digest, deploy=True)

    assert (refused.value.reason, refused.value.message) == (
        "CLUSTER_REPOSITORY_NOT_SET",
        SAID["a deploy for which `FNMESH_BUILD_CLUSTER_REPOSITORY` is not set"],
    )
    assert not clustered.registry.revisions


async def test_a_function_that_is_moved_while_its_build_is_accepted(world: World, client: Client) -> None:
    world.registry.moved_to = function_pb2.TARGET_KUBERNETES
    digest = await client.upload("handler.py", HANDLER)

    made = await create(client, source_digest=digest)
    build, _ = await client.ended(made.name)

    assert build.error == SAID["a deploy for which `FNMESH_BUILD_CLUSTER_REPOSITORY` is not set"]


async def test_what_is_only_pushed_is_built_as_for_this_machine(clustered: World, client: Client) -> None:
    digest = await client.upload("handler.py", HANDLER)

    await create(client, source_digest=digest, push=builds.Push(repository="127.0.0.1:1/app"))

    assert [one.target for one in clustered.registry.revisions.values()] == [function_pb2.TARGET_DOCKER]


async def test_one_place_to_push_to(tmp_path: Path, tmp_run_dir: Path) -> None:
    settings = {"FNMESH_BUILD_CLUSTER_REPOSITORY": "127.0.0.1:1/made/for"}
    async with running_world(tmp_path, tmp_run_dir, **settings) as (world, client):
        world.registry.functions["hello"].target = function_pb2.TARGET_KUBERNETES
        digest = await client.upload("handler.py", HANDLER)
        push = builds.Push(repository="127.0.0.1:1/app")

        made = await create(client, source_digest=digest, deploy=True, push=push)
        build, _ = await client.ended(made.name)

    assert build.error == SAID["a build that is deployed to a cluster and pushed elsewhere too"]


async def test_an_image_is_for_clusters_and_alone(world: World, client: Client) -> None:
    image = "127.0.0.1:1/app:1"
    with pytest.raises(FailedPrecondition) as refused:
        await create(client, image=image)
    assert (refused.value.reason, refused.value.message) == (
        "IMAGE_TARGET_INVALID",
        SAID["a build of an image for another target"],
    )
    world.registry.functions["hello"].target = function_pb2.TARGET_KUBERNETES
    for more in ({"source_digest": "sha256:" + "a" * 64}, {"push": builds.Push(repository="127.0.0.1:1/app")}):
        with pytest.raises(InvalidArgument) as wrong:
            await create(client, image=image, **more)
        assert (wrong.value.reason, list(wrong.value.fields)) == ("IMAGE_INVALID", ["build.image"])
    with pytest.raises(InvalidArgument) as unnamed:
        await create(client, image="a b/c")
    assert unnamed.value.reason == "IMAGE_INVALID"
    with pytest.raises(Unavailable) as gone:  # nothing listens on that port
        await create(client, image=image)
    assert gone.value.reason == "REGISTRY_UNAVAILABLE"
    assert not world.registry.revisions


@pytest.mark.parametrize(
    "wrong", ["app", "ghcr.io", "ghcr.io/me/app:1", "https://me:pw@ghcr.io/app", "x.io/" + "a" * 200]
)
def test_a_setting_that_names_no_repository(world: World, wrong: str) -> None:
    with pytest.raises(SettingsError, match="FNMESH_BUILD_CLUSTER_REPOSITORY"):
        world.settings(FNMESH_BUILD_CLUSTER_REPOSITORY=wrong)
