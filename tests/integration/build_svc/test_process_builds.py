"""Process builds with the real pip, npm and interpreter, and authors' code that misbehaves."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from fnmesh.build.v1 import build_pb2 as builds
from fnmesh.build.v1 import build_service_pb2 as pb
from mesh.blobs import LocalBlobs
from tests.contract.build_svc.build_world import Client, World, lines, running_world, zipped
from tests.integration.build_svc import slow_library
from tests.support import processes
from tests.support.eventually import eventually

PYTHON = "import six\ndef handler(event):\n    return {number}\n"


async def tree_of(world: World, build: builds.Build) -> tarfile.TarFile:
    blobs = LocalBlobs(Path(world.settings().blob_url))
    return tarfile.open(fileobj=io.BytesIO(await blobs.get(build.artifact.reference)))


async def test_libraries_are_installed_once_for_unchanged_requirements(world: World, client: Client) -> None:
    first, events = await client.build(
        "a.zip", zipped({"a/handler.py": PYTHON.format(number=1), "a/requirements.txt": "six==1.16.0\n"})
    )
    second, later = await client.build(
        "a.zip", zipped({"a/handler.py": PYTHON.format(number=2), "a/requirements.txt": "six==1.16.0\n"})
    )

    assert first.state == second.state == builds.BUILD_STATE_DONE, (first.error, second.error)
    assert any(line.startswith("Successfully installed six") for line in lines(events))
    assert not any("Collecting" in line for line in lines(later))
    with await tree_of(world, second) as tree:
        names = tree.getnames()
        assert {"app/handler.py", "packages/six.py"} <= set(names)
        assert any(name.startswith("packages/__pycache__/six.") for name in names)
        assert {entry.uid for entry in tree} == {0}
        assert {entry.mtime for entry in tree} == {0}
        assert not any(entry.mode & 0o022 for entry in tree if not entry.issym())


async def test_pips_own_error_line_is_the_builds_error(client: Client) -> None:
    build, events = await client.build(
        "a.zip", zipped({"handler.py": PYTHON, "requirements.txt": "no-such-library-for-fnmesh==1\n"})
    )

    assert build.state == builds.BUILD_STATE_FAILED
    assert build.error == "ERROR: No matching distribution found for no-such-library-for-fnmesh==1"
    assert build.stage == builds.STAGE_INSTALL
    assert build.error in lines(events)


@pytest.mark.node
async def test_node_modules_are_installed_and_cached_and_npms_error_is_told(world: World, client: Client) -> None:
    package = '{"dependencies": {"is-number": "7.0.0"}}'
    first, _ = await client.build(
        "a.zip", zipped({"index.js": "exports.handler = async () => 1", "package.json": package})
    )
    second, later = await client.build(
        "a.zip", zipped({"index.js": "exports.handler = async () => 2", "package.json": package})
    )
    wrong, _ = await client.build("index.js", b"exports.handler = async (e => 1\n")
    missing, _ = await client.build(
        "a.zip", zipped({"index.js": "", "package.json": '{"dependencies": {"no-such-library-for-fnmesh": "1"}}'})
    )

    assert first.state == second.state == builds.BUILD_STATE_DONE, (first.error, second.error)
    assert any("earlier build" in line for line in lines(later))
    with await tree_of(world, second) as tree:
        assert {"app/index.js", "app/node_modules/is-number/package.json"} <= set(tree.getnames())
    assert wrong.error == "index.js:1: SyntaxError: missing ) after argument list"
    assert missing.error.startswith("npm error 404")


async def test_authors_code_sees_nothing_of_the_mesh_and_writes_nowhere(
    data_dir: Path, tmp_run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probed = (str(data_dir), str(data_dir / "build"), str(data_dir / "build" / "cache"), str(tmp_run_dir))
    monkeypatch.setenv("FNMESH_SECRET_THING", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    async with running_world(data_dir, tmp_run_dir) as (world, client):
        build, _ = await client.build("a.zip", zipped(slow_library.source(probed=probed)))

        assert build.state == builds.BUILD_STATE_DONE, build.error
        with await tree_of(world, build) as tree:
            member = tree.extractfile("packages/slowlib.py")
            assert member is not None
            scope: dict[str, str] = {}
            exec(member.read(), scope)
    told = json.loads(scope["TOLD"])
    assert not [name for name in told["environ"] if name.startswith(("FNMESH", "AWS"))]
    if os.geteuid() == 0:
        assert 190_000 <= told["uid"] < 199_000
        assert told["groups"] == []
        assert told["writable"] == []


@pytest.mark.root  # a build's processes are told by their user
async def test_what_authors_code_leaves_running_is_ended_with_the_build(client: Client, data_dir: Path) -> None:
    build, _ = await client.build("a.zip", zipped(slow_library.source(slow_library.LEAVE_A_PROCESS)))

    assert build.state == builds.BUILD_STATE_DONE, build.error
    await eventually(lambda: not processes.working_in(data_dir))


async def test_a_cancelled_build_ends_with_its_processes(world: World, client: Client, data_dir: Path) -> None:
    made = await client.create(await client.upload("a.zip", zipped(slow_library.source(slow_library.SLEEP))))
    await installing(client, made.name, data_dir)

    await client.stub.CancelBuild(pb.CancelBuildRequest(name=made.name))
    build, _ = await client.ended(made.name)

    assert build.state == builds.BUILD_STATE_CANCELLED
    assert not processes.working_in(data_dir)
    assert world.registry.reports[-1].error == "The build was cancelled."
    assert not os.listdir(world.settings().data_dir / "build" / "scratch")


async def test_a_build_that_takes_too_long_is_stopped(data_dir: Path, tmp_run_dir: Path) -> None:
    async with running_world(data_dir, tmp_run_dir, FNMESH_BUILD_TIMEOUT_S="2") as (_, client):
        build, _ = await client.build("a.zip", zipped(slow_library.source(slow_library.SLEEP)))

    assert build.state == builds.BUILD_STATE_FAILED
    assert "longer than its limit of 2 s" in build.error
    assert not processes.working_in(data_dir)


async def test_a_deleted_functions_builds_are_cancelled(world: World, client: Client, data_dir: Path) -> None:
    made = await client.create(await client.upload("a.zip", zipped(slow_library.source(slow_library.SLEEP))))
    await installing(client, made.name, data_dir)

    world.registry.deleted.put_nowait("fn-hello")

    build, _ = await client.ended(made.name)
    assert build.state == builds.BUILD_STATE_CANCELLED


async def test_deleted_functions_leave_nothing_and_others_keep_theirs(world: World, client: Client) -> None:
    world.registry.add("other")
    first, _ = await client.build("handler.py", b"def handler(event): return 1\n")
    second, _ = await client.build(
        "handler.py", b"def handler(event): return 2\n", "workspaces/default/functions/other"
    )
    blobs = LocalBlobs(Path(world.settings().blob_url))

    world.registry.live.discard(first.artifact.digest)
    world.registry.deleted.put_nowait("fn-hello")

    async def only_the_seconds() -> bool:
        found = {blob.key async for blob in blobs.list()}
        return second.artifact.reference in found and len(found) == 2

    await eventually(only_the_seconds)
    again, _ = await client.build("handler.py", b"def handler(event): return 1\n")
    assert again.state == builds.BUILD_STATE_DONE
    assert not again.cached
    assert again.artifact.digest == first.artifact.digest
    assert again.artifact.reference != first.artifact.reference


async def installing(client: Client, name: str, data_dir: Path) -> int:
    """Waits until the build's library is being built; the number of the event that says so."""
    async for event in client.watch(name):
        if "lib" in event.log_line.text:
            await eventually(lambda: processes.working_in(data_dir))
            return int(event.sequence)
    raise AssertionError("the build ended")
