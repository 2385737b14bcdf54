"""Docker builds at a real daemon."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from fnmesh.build.v1 import build_pb2 as builds
from fnmesh.build.v1 import build_service_pb2 as pb
from fnmesh.registry.v1 import function_pb2, revision_pb2
from tests.contract.build_svc.build_world import Client, World, lines, running_world, zipped
from tests.integration.build_svc import slow_library
from tests.support.eventually import eventually


@pytest.fixture
def api(docker_host: str, tmp_run_dir: Path) -> Iterator[docker.APIClient]:
    """The daemon; images that the test's mesh made are removed afterwards."""
    api = docker.APIClient(base_url=docker_host, version="auto", timeout=60)
    yield api
    for _ in range(4):  # images that others are made of go after those
        for image in images_of(api, tmp_run_dir):
            try:
                api.remove_image(image["Id"], force=False)
            except docker.errors.APIError:
                continue
    api.close()


@pytest.fixture
async def both(
    data_dir: Path, tmp_run_dir: Path, api: docker.APIClient, docker_host: str, docker_base_images: dict[str, str]
) -> AsyncIterator[tuple[World, Client]]:
    async with running_world(
        data_dir,
        tmp_run_dir,
        docker_host=docker_host,
        FNMESH_BUILD_PYTHON_IMAGE=docker_base_images["python"],
        FNMESH_BUILD_NODE_IMAGE=docker_base_images["node"],
    ) as world_and_client:
        yield world_and_client


def images_of(api: docker.APIClient, run_dir: Path, role: str = "") -> list[dict[str, Any]]:
    labels = [f"fnmesh.mesh=test-mesh-{run_dir.name}", *([f"fnmesh.role={role}"] if role else [])]
    found: list[dict[str, Any]] = api.images(filters={"label": labels})
    return found


async def test_a_function_without_a_target_becomes_an_image_that_answers(
    both: tuple[World, Client], api: docker.APIClient
) -> None:
    world, client = both
    world.surroundings["PIP_CANARY"] = "canary-value"

    build, _ = await client.build("handler.py", b"def handler(event):\n    return {'hello': 'docker'}\n")

    assert build.state == builds.BUILD_STATE_DONE, build.error
    assert world.registry.revisions[build.revision].target == function_pb2.TARGET_DOCKER
    assert build.artifact.kind == revision_pb2.ARTIFACT_KIND_IMAGE
    config = api.inspect_image(build.artifact.reference)["Config"]
    assert config["Labels"]["fnmesh.artifact"] == build.artifact.digest
    assert config["User"] == "65532:65532"
    assert config["Env"] == api.inspect_image(world.environ["FNMESH_BUILD_PYTHON_IMAGE"])["Config"]["Env"]
    assert "canary" not in str(api.history(build.artifact.reference)) + str(config)
    container = api.create_container(
        build.artifact.reference,
        command=["--file", build.artifact.entry_file, "--function", "f", "--revision", "1"],
        host_config=api.create_host_config(read_only=True, network_mode="none"),
    )
    try:
        api.start(container)
        ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/api/x', timeout=2).read().decode())"

        def answer() -> bool:
            made = api.exec_create(container, ["python", "-c", ask])
            return b'"docker"' in api.exec_start(made)

        await eventually(answer, 20)
    finally:
        api.remove_container(container, force=True)


async def test_a_change_of_code_alone_installs_nothing(
    both: tuple[World, Client], api: docker.APIClient, tmp_run_dir: Path
) -> None:
    _, client = both
    first, events = await client.build(
        "a.zip",
        zipped({"handler.py": "import six\ndef handler(event): return 1\n", "requirements.txt": "six==1.16.0\n"}),
    )
    second, later = await client.build(
        "a.zip",
        zipped({"handler.py": "import six\ndef handler(event): return 2\n", "requirements.txt": "six==1.16.0\n"}),
    )

    assert first.state == second.state == builds.BUILD_STATE_DONE, (first.error, second.error)
    assert any("Successfully installed six" in line for line in lines(events))
    assert any("earlier build" in line for line in lines(later))
    assert len(images_of(api, tmp_run_dir, "cache")) == 2


async def test_errors_are_the_tools_own(both: tuple[World, Client]) -> None:
    _, client = both

    syntax, _ = await client.build("handler.py", b"def handler(event)\n")
    missing, _ = await client.build(
        "a.zip", zipped({"handler.py": "handler = print", "requirements.txt": "no-such-library-for-fnmesh==1\n"})
    )

    assert syntax.error.startswith("handler.py:1: expected ':'")
    assert syntax.stage == builds.STAGE_CHECK
    assert missing.error == "ERROR: No matching distribution found for no-such-library-for-fnmesh==1"
    assert missing.stage == builds.STAGE_INSTALL


@pytest.mark.node
async def test_node_functions_are_built_with_their_modules(both: tuple[World, Client], api: docker.APIClient) -> None:
    _, client = both
    package = '{"dependencies": {"is-number": "7.0.0"}}'

    build, _ = await client.build(
        "a.zip", zipped({"index.js": "exports.handler = async () => 1", "package.json": package})
    )

    assert build.state == builds.BUILD_STATE_DONE, build.error
    listed, _ = api.get_archive(
        api.create_container(build.artifact.reference, name=f"look-{build.uid}")["Id"],
        "/app/node_modules/is-number/index.js",
    )
    assert b"".join(listed)
    api.remove_container(f"look-{build.uid}")


async def test_a_base_image_that_is_not_there_is_told_with_what_to_do(
    data_dir: Path, tmp_run_dir: Path, docker_host: str
) -> None:
    async with running_world(
        data_dir, tmp_run_dir, docker_host=docker_host, FNMESH_BUILD_PYTHON_IMAGE="localhost:1/nothing:1"
    ) as (_, client):
        build, _ = await client.build("handler.py", b"def handler(event): return 1\n")

    assert build.state == builds.BUILD_STATE_FAILED
    assert "localhost:1/nothing:1 is not here and cannot be pulled" in build.error
    assert "FNMESH_BUILD_PYTHON_IMAGE" in build.error


async def test_a_cancelled_build_leaves_no_container(both: tuple[World, Client], api: docker.APIClient) -> None:
    _, client = both
    made = await client.create(await client.upload("a.zip", zipped(slow_library.source(slow_library.SLEEP))))
    async for event in client.watch(made.name):
        if "./lib" in event.log_line.text or "/app/lib" in event.log_line.text:
            break

    await client.stub.CancelBuild(pb.CancelBuildRequest(name=made.name))
    build, _ = await client.ended(made.name)

    assert build.state == builds.BUILD_STATE_CANCELLED
    await eventually(lambda: not api.containers(all=True, filters={"name": made.uid}))


async def test_a_container_that_a_killed_builder_left_is_removed_by_a_sweep(
    both: tuple[World, Client], api: docker.APIClient, docker_python_image: str, tmp_run_dir: Path
) -> None:
    world, client = both
    mesh_id = f"test-mesh-{tmp_run_dir.name}"
    build, _ = await client.build("handler.py", b"def handler(event): return 1\n")
    name = f"fnmesh-build-{mesh_id[:16]}-{build.uid}-install"
    labels = {"fnmesh.mesh": mesh_id}
    api.create_container(docker_python_image, command=["sleep", "600"], name=name, labels=labels)
    api.start(name)

    world.registry.deleted.put_nowait("fn-other")  # a deletion begins a sweep

    await eventually(lambda: not api.containers(all=True, filters={"name": name}))


async def test_images_of_deleted_functions_are_removed_and_others_kept(
    both: tuple[World, Client], api: docker.APIClient, tmp_run_dir: Path
) -> None:
    world, client = both
    world.registry.add("other")
    first, _ = await client.build("handler.py", b"def handler(event): return 1\n")
    second, _ = await client.build(
        "handler.py", b"def handler(event): return 2\n", "workspaces/default/functions/other"
    )

    world.registry.live.discard(first.artifact.digest)
    world.registry.deleted.put_nowait("fn-hello")

    await eventually(
        lambda: [image["Id"] for image in images_of(api, tmp_run_dir, "artifact")] == [second.artifact.reference]
    )
    assert len(images_of(api, tmp_run_dir, "cache")) == 1
