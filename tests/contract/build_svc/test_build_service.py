"""BuildService over real gRPC: uploads, builds, their events, and who may see them."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from fnmesh.build.v1 import build_pb2 as builds
from fnmesh.build.v1 import build_service_pb2 as pb
from fnmesh.registry.v1 import function_pb2, revision_pb2
from mesh.errors import (
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from tests.contract.build_svc.build_world import HELLO, Client, World, lines, running_world, zipped
from tests.support.eventually import eventually

CODE = b"def handler(event):\n    return 1\n"


async def test_a_file_becomes_an_artifact_and_the_registry_hears_of_it(world: World, client: Client) -> None:
    digest = await client.upload("handler.py", CODE)

    made = await client.create(digest, deploy=True)
    build, events = await client.ended(made.name)

    assert build.state == builds.BUILD_STATE_DONE, build.error
    assert build.percent == 100
    assert build.artifact.kind == revision_pb2.ARTIFACT_KIND_TREE
    assert build.artifact.entry_file == "handler.py"
    assert build.name == f"workspaces/ws-default/functions/fn-hello/builds/{build.uid}"
    assert build.revision in world.registry.revisions
    states = [event.state_change.state for event in events if event.HasField("state_change")]
    assert states == [
        builds.BUILD_STATE_PENDING,
        builds.BUILD_STATE_BUILDING,
        builds.BUILD_STATE_PUSHING,
        builds.BUILD_STATE_DONE,
    ]
    percents = [event.progress.percent for event in events if event.HasField("progress")]
    assert percents == sorted(percents)
    [report] = world.registry.reports
    assert report.artifact == build.artifact
    assert world.registry.revisions[build.revision].runtime == function_pb2.RUNTIME_PYTHON


async def test_the_same_source_is_stored_and_built_once(world: World, client: Client) -> None:
    first, _ = await client.build("handler.py", CODE)
    world.registry.add("other")
    second, events = await client.build("handler.py", CODE, "workspaces/default/functions/other")

    assert second.cached
    assert second.artifact == first.artifact
    assert second.source_digest == first.source_digest
    assert not lines(events)


async def test_the_same_bytes_under_another_name_are_another_source(client: Client) -> None:
    build, _ = await client.build("main.py", CODE)
    other, _ = await client.build("handler.py", CODE)

    assert build.artifact.entry_file == "main.py"
    assert other.artifact.entry_file == "handler.py"


@pytest.mark.parametrize(
    ("filename", "data", "word"),
    [
        ("../handler.py", CODE, "plain file name"),
        ("source.zip", b"not a zip", "not a zip"),
        ("source.zip", zipped({"../handler.py": CODE}), "leads out"),
        ("source.zip", zipped({"readme.md": "x"}), "handler.py"),
        ("handler.py", b"", "empty"),
    ],
)
async def test_a_source_that_cannot_be_built_from_is_refused(
    client: Client, filename: str, data: bytes, word: str
) -> None:
    with pytest.raises(InvalidArgument, match=word) as raised:
        await client.upload(filename, data)

    assert raised.value.reason == "SOURCE_INVALID"


async def test_an_upload_begins_with_a_name_and_has_only_one(client: Client) -> None:
    async def without() -> AsyncIterator[pb.UploadSourceRequest]:
        yield pb.UploadSourceRequest(chunk=b"x")

    async def twice() -> AsyncIterator[pb.UploadSourceRequest]:
        yield pb.UploadSourceRequest(filename="handler.py")
        yield pb.UploadSourceRequest(filename="handler.py")

    for parts in (without(), twice()):
        with pytest.raises(InvalidArgument):
            await client.stub.UploadSource(parts)


async def test_a_source_above_the_limit_is_refused(tmp_path: Path, tmp_run_dir: Path) -> None:
    async with running_world(tmp_path, tmp_run_dir, FNMESH_BUILD_SOURCE_MAX_BYTES="1000000") as (_, client):
        with pytest.raises(ResourceExhausted, match="larger than") as raised:
            await client.upload("handler.py", b"#" * 3_000_000)

        assert raised.value.reason == "SOURCE_TOO_LARGE"


async def test_an_unknown_source_or_function_makes_no_build(world: World, client: Client) -> None:
    with pytest.raises(NotFound) as raised:
        await client.create("sha256:" + "0" * 64)
    assert raised.value.reason == "SOURCE_NOT_FOUND"
    digest = await client.upload("handler.py", CODE)
    with pytest.raises(NotFound):
        await client.create(digest, "workspaces/default/functions/nobody")
    with pytest.raises(InvalidArgument):
        await client.create("")

    listed = await client.stub.ListBuilds(pb.ListBuildsRequest(parent=HELLO))
    assert not listed.builds


async def test_a_repeated_request_gives_the_first_ones_build(world: World, client: Client) -> None:
    digest = await client.upload("handler.py", CODE)

    first = await client.create(digest, request_id="once")
    again = await client.create(digest, request_id="once")
    other = await client.create(digest, request_id="twice")

    assert again.uid == first.uid
    assert other.uid != first.uid
    assert len(world.registry.revisions) == 2


async def test_a_registry_that_is_down_loses_nothing(world: World, client: Client) -> None:
    digest = await client.upload("handler.py", CODE)
    made = await client.create(digest)
    await client.ended(made.name)
    world.registry.down = True

    with pytest.raises(Unavailable):
        await client.create(digest, request_id="later")
    world.registry.down = False
    build = await client.create(digest, request_id="later")

    ended, _ = await client.ended(build.name)
    assert ended.state == builds.BUILD_STATE_DONE


@pytest.mark.parametrize("newer", [True, False])
async def test_a_build_that_nobody_was_told_of_goes_on_unless_there_is_a_newer_one(
    world: World, client: Client, newer: bool
) -> None:
    digest = await client.upload("handler.py", CODE)
    world.registry.makes_revisions = False
    with pytest.raises(Unavailable):
        await client.create(digest, deploy=True)
    world.registry.makes_revisions = True
    if newer:
        made = await client.create(digest, deploy=True)
        await client.ended(made.name)
    (listed,) = (await client.stub.ListBuilds(pb.ListBuildsRequest(parent=HELLO))).builds[-1:]
    assert (listed.state, listed.revision) == (builds.BUILD_STATE_PENDING, "")
    _made_long_ago(world, listed.uid)

    ended, _ = await client.ended(listed.name)
    assert ended.state == (builds.BUILD_STATE_CANCELLED if newer else builds.BUILD_STATE_DONE)
    assert ("a newer one was asked for" in ended.error) == newer
    await eventually(lambda: world.registry.reports[-1].revision == ended.revision)
    assert bool(world.registry.reports[-1].error) == newer


async def test_a_report_is_repeated_until_it_is_heard(world: World, client: Client) -> None:
    digest = await client.upload("handler.py", b"def handler(event): return 5\nx = = 1\n")
    made = await client.create(digest)
    world.registry.down = True
    ended, _ = await client.ended(made.name)
    assert ended.state == builds.BUILD_STATE_FAILED
    reports_before = len(world.registry.reports)

    world.registry.down = False

    await eventually(lambda: len(world.registry.reports) == reports_before + 1 or reports_before == 1)
    assert world.registry.reports[-1].error == ended.error


async def test_watching_goes_on_after_any_number(client: Client) -> None:
    build, events = await client.build("handler.py", CODE)

    for after in range(len(events) + 2):
        rest = [event async for event in client.watch(build.name, after)]
        assert rest == events[after:]


async def test_builds_are_listed_newest_first_in_pages(world: World, client: Client) -> None:
    made = [(await client.build("handler.py", CODE + b"#" * count))[0] for count in range(3)]
    request = pb.ListBuildsRequest(parent=HELLO, page_size=2)

    first = await client.stub.ListBuilds(request)
    request.page_token = first.next_page_token
    second = await client.stub.ListBuilds(request)
    of_workspace = await client.stub.ListBuilds(pb.ListBuildsRequest(parent="workspaces/ws-default/functions/-"))

    assert [build.uid for build in [*first.builds, *second.builds]] == [build.uid for build in reversed(made)]
    assert not second.next_page_token
    assert len(of_workspace.builds) == 3
    by_name = await client.stub.ListBuilds(pb.ListBuildsRequest(parent="workspaces/default/functions/-"))
    assert by_name == of_workspace


async def test_a_build_is_found_by_its_names_and_by_no_others(world: World, client: Client) -> None:
    build, _ = await client.build("handler.py", CODE)
    world.registry.add("other")

    for name in (build.name, f"builds/{build.uid}", f"{HELLO}/builds/{build.uid}"):
        assert await client.get(name) == build
    for name in (f"workspaces/default/functions/other/builds/{build.uid}", "builds/none", f"{HELLO}/builds/none"):
        with pytest.raises(NotFound):
            await client.get(name)
    with pytest.raises(InvalidArgument):
        await client.get("nonsense")


async def test_cancelling_what_has_ended_changes_nothing(client: Client) -> None:
    build, _ = await client.build("handler.py", CODE)

    assert await client.stub.CancelBuild(pb.CancelBuildRequest(name=build.name)) == build


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (b"def handler(event):\n    return 1\nx = = 3\n", "handler.py:3: invalid syntax: x = = 3"),
        (
            b"def other(event): pass\n",
            "handler.py has no handler: define handler(event) in it, or name another handler.",
        ),
    ],
)
async def test_wrong_code_is_told_with_its_place(world: World, client: Client, code: bytes, error: str) -> None:
    build, events = await client.build("handler.py", code)

    assert build.state == builds.BUILD_STATE_FAILED
    assert build.error == error
    assert build.stage == builds.STAGE_CHECK
    assert events[-1].state_change.build.error == error
    assert world.registry.reports[-1].error == error


@pytest.mark.parametrize(
    "code",
    [
        b"from somewhere import handler\n",
        b"from somewhere import *\n",
        b"if True:\n    handler = print\n",
        b"try:\n    pass\nfinally:\n    async def handler(event): ...\n",
        b"globals()['handler'] = print\n",
        b"class App:\n    pass\nhandler = App()\n",
    ],
)
async def test_a_handler_that_may_be_there_is_let_through(client: Client, code: bytes) -> None:
    build, _ = await client.build("handler.py", code)

    assert build.state == builds.BUILD_STATE_DONE, build.error


async def test_other_files_that_do_not_compile_are_only_told_of(client: Client) -> None:
    build, events = await client.build("a.zip", zipped({"handler.py": CODE, "old.py": "print 1\n"}))

    assert build.state == builds.BUILD_STATE_DONE
    assert any(line.startswith("warning: old.py:1: ") for line in lines(events))


async def test_a_key_sees_its_own_workspace_only(tmp_path: Path, tmp_run_dir: Path) -> None:
    async with running_world(tmp_path, tmp_run_dir, FNMESH_AUTH="keys") as (world, client):
        world.registry.keys = {"fnm_good": "workspaces/ws-default", "fnm_other": "workspaces/ws-other"}
        client.use_key("fnm_good")
        build, _ = await client.build("handler.py", CODE)
        digest = build.source_digest
        for key, error in (("fnm_other", PermissionDenied), ("fnm_none", Unauthenticated)):
            client.use_key(key)
            with pytest.raises(error):
                await client.get(build.name)
            with pytest.raises(error):
                await client.create(digest)


def _made_long_ago(world: World, build_uid: str) -> None:
    (file,) = Path(world.environ["FNMESH_DATA_DIR"]).glob("**/build*.db")
    a_minute_before = "strftime('%Y-%m-%d %H:%M:%f000', create_time, '-60 seconds')"
    with closing(sqlite3.connect(file)) as tables, tables:
        tables.execute(f"UPDATE builds SET create_time = {a_minute_before} WHERE uid = ?", (build_uid,))
