"""Claims, numbers and the sweep's race, on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from build_svc.domain import (
    MAX_ATTEMPTS,
    Artifact,
    ArtifactKind,
    Build,
    BuildState,
    Live,
    LogLine,
    Progress,
    Source,
    Stage,
)
from build_svc.leases import LeaseLost
from build_svc.sweep import dead_sources
from build_svc.tables import metadata
from tests.contract.build_svc.build_rows import LEASE_S, K, Rows

ARTIFACT = Artifact(K, ArtifactKind.TREE, "sha256/aa/1", 5, "handler.py")
SOURCE = Source(K, "blob/1", "handler.py", False, 1, None, "handler.py")
GRACE = timedelta(hours=1)
NOTHING_LIVES = Live(frozenset(), frozenset())


async def test_the_migrations_make_the_tables_of_the_code(rows: Rows) -> None:
    def columns(conn: sa.Connection) -> dict[str, set[tuple[str, bool]]]:
        inspector = sa.inspect(conn)
        schema = None if rows.database.is_sqlite else "build"
        return {
            name: {(column["name"], column["nullable"]) for column in inspector.get_columns(name, schema=schema)}
            for name in metadata.tables
        }

    async with rows.database.read() as conn:
        found = await conn.run_sync(columns)

    assert found == {
        name: {(column.name, bool(column.nullable)) for column in table.columns}
        for name, table in metadata.tables.items()
    }


async def test_many_claimers_get_every_build_once(rows: Rows) -> None:
    made = {(await rows.accepted()).uid for _ in range(6)}

    claims = await asyncio.gather(*(rows.claim(f"owner-{number}") for number in range(10)))

    uids = [build.uid for build in claims if build is not None]
    assert sorted(uids) == sorted(made)


async def test_a_build_whose_builder_died_goes_on_with_the_next_numbers(rows: Rows) -> None:
    build = await rows.accepted()
    await rows.claim("first")
    await rows.store.record(build.uid, "first", [LogLine(Stage.INSTALL, "a"), Progress(Stage.INSTALL, 40)])
    rows.clock.advance(LEASE_S + 1)

    again = await rows.claim("second")

    assert again is not None
    assert again.attempts == 2
    with pytest.raises(LeaseLost):
        await rows.store.record(build.uid, "first", [LogLine(Stage.INSTALL, "late")])
    with pytest.raises(LeaseLost):
        await rows.store.finish(build.uid, "first", BuildState.DONE)
    await rows.store.record(build.uid, "second", [Progress(Stage.UNPACK, 0)])
    events = await rows.store.events_after(build.uid, 0, 100)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert isinstance(events[-1].what, Progress)
    assert events[-1].what.percent == 40  # never back


async def test_a_build_is_begun_three_times_at_most(rows: Rows) -> None:
    build = await rows.accepted()
    for attempt in range(MAX_ATTEMPTS):
        assert await rows.claim(f"owner-{attempt}") is not None
        rows.clock.advance(LEASE_S + 1)

    assert await rows.claim("one-more") is None

    ended = await rows.store.get(build.uid)
    assert ended is not None
    assert ended.state is BuildState.FAILED
    assert "3 times" in ended.error


async def test_a_build_given_back_is_claimed_at_once_and_not_counted(rows: Rows) -> None:
    build = await rows.accepted()
    await rows.claim("first")
    await rows.store.postpone(build.uid, "first", delay_s=0, counts=False)

    again = await rows.claim("second")

    assert again is not None
    assert again.attempts == 1


async def test_a_heartbeat_keeps_the_lease_and_tells_of_a_wish_to_cancel(rows: Rows) -> None:
    build = await rows.accepted()
    await rows.claim("first")
    rows.clock.advance(LEASE_S - 1)
    assert not await rows.store.heartbeat(build.uid, "first", LEASE_S)
    rows.clock.advance(LEASE_S - 1)
    assert await rows.claim("second") is None

    await rows.store.request_cancel(build.uid)

    assert await rows.store.heartbeat(build.uid, "first", LEASE_S)


async def test_a_build_that_nobody_works_on_is_cancelled_at_once(rows: Rows) -> None:
    build = await rows.accepted()

    cancelled = await rows.store.request_cancel(build.uid)

    assert cancelled is not None
    assert cancelled.state is BuildState.CANCELLED
    assert await rows.claim("any") is None


async def test_a_build_without_a_revision_is_left_to_its_creator_for_a_while(rows: Rows) -> None:
    build = Build("u-1", "workspaces/w/functions/f", "fn-f", K, False, BuildState.PENDING, rows.clock.now())
    await rows.store.create(build, "")

    assert await rows.claim("early") is None
    rows.clock.advance(31)
    assert await rows.claim("later") is not None


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize(
    ("deploys", "function", "newer_deploys", "overtakes"),
    [
        (True, "fn-f", True, True),
        (True, "fn-f", False, False),
        (True, "fn-other", True, False),
        (False, "fn-f", True, False),
    ],
)
async def test_who_was_told_nothing_does_not_take_the_place_of_a_newer_one(
    rows: Rows, late: bool, deploys: bool, function: str, newer_deploys: bool, overtakes: bool
) -> None:
    def draft(uid: str, function_uid: str, deploy: bool) -> Build:
        now = rows.clock.now()
        return Build(uid, "workspaces/w/functions/f", function_uid, K, deploy, BuildState.PENDING, now)

    await rows.store.create(draft("u-1", "fn-f", deploys), "")
    await rows.store.create(draft("u-2", function, newer_deploys), "")
    accepted = await rows.store.accept(
        "u-1", revision="r/2", runtime="python", target="process", handler="handler", is_late=late
    )
    assert accepted.cancel_requested == (late and overtakes)
    kept = await rows.store.get("u-1")
    assert kept is not None
    assert (kept.revision, kept.cancel_requested) == ("r/2", accepted.cancel_requested)


async def test_a_request_id_is_forgotten_after_a_day(rows: Rows) -> None:
    first = await rows.accepted("once")
    assert (await rows.accepted("once")).uid == first.uid
    rows.clock.advance(86_401)
    assert (await rows.accepted("once")).uid != first.uid


async def test_what_a_build_reuses_is_not_given_up(rows: Rows) -> None:
    """The race of `shelf`: pinned before, during and after the registry was asked."""
    await rows.shelf.keep_artifact(ARTIFACT)
    build = await rows.accepted()
    await rows.claim("owner")
    version = await rows.shelf.version()

    assert await rows.shelf.pin(build.uid, "owner", K) == ARTIFACT
    assert await rows.shelf.give_up([K], not_used_after=await rows.shelf.version()) == 0  # it is in work
    await rows.store.finish(build.uid, "owner", BuildState.DONE, artifact=ARTIFACT)
    assert await rows.shelf.give_up([K], not_used_after=await rows.shelf.version()) == 0  # nobody was told of it
    await rows.shelf.reported(build.uid, K)
    assert await rows.shelf.give_up([K], not_used_after=version) == 0  # the registry was asked before it was told
    assert await rows.shelf.give_up([K], not_used_after=await rows.shelf.version()) == 1

    [trash] = await rows.shelf.trash()
    assert trash.reference == ARTIFACT.reference


async def test_what_was_given_up_is_built_anew_under_another_reference(rows: Rows) -> None:
    await rows.shelf.keep_artifact(ARTIFACT)
    await rows.shelf.give_up([K], not_used_after=await rows.shelf.version())
    build = await rows.accepted()
    await rows.claim("owner")

    assert await rows.shelf.pin(build.uid, "owner", K) is None
    anew = Artifact(K, ArtifactKind.TREE, "sha256/aa/2", 5, "handler.py")
    await rows.shelf.keep_artifact(anew)
    [trash] = await rows.shelf.trash()
    await rows.shelf.emptied(trash)

    assert await rows.shelf.pin(build.uid, "owner", K) == anew


async def test_of_two_that_made_the_same_the_first_stays(rows: Rows) -> None:
    twin = Artifact(K, ArtifactKind.TREE, "sha256/aa/twin", 5, "handler.py")

    assert await rows.shelf.keep_artifact(ARTIFACT) == ARTIFACT
    assert await rows.shelf.keep_artifact(twin) == ARTIFACT

    assert [one.reference for one in await rows.shelf.trash()] == [twin.reference]


async def test_a_source_whose_blob_was_lost_is_replaced(rows: Rows) -> None:
    first = Source(K, "blob/1", "handler.py", False, 1, None, "handler.py")
    second = Source(K, "blob/2", "handler.py", False, 1, None, "handler.py")

    assert await rows.upload(first) == first
    third = Source(K, "blob/3", "handler.py", False, 1, None, "handler.py")
    assert await rows.upload(second) == first
    assert await rows.upload(third, instead_of="blob/1") == third


async def built(rows: Rows) -> None:
    """A build of the source is made, and the registry told of it."""
    build = await rows.accepted()
    await rows.claim("owner")
    await rows.store.finish(build.uid, "owner", BuildState.DONE, artifact=ARTIFACT)
    await rows.shelf.reported(build.uid, K)


async def swept_sources(rows: Rows) -> int:
    """How many sources a sweep takes when no function is left."""
    version = await rows.shelf.version()
    dead = dead_sources(await rows.shelf.sources(), NOTHING_LIVES, now=rows.clock.now(), grace=GRACE)
    return await rows.shelf.give_up_sources(dead, not_used_after=version)


async def test_the_source_of_a_deleted_function_goes_at_once(rows: Rows) -> None:
    await rows.upload(SOURCE)
    rows.clock.advance(1)
    await built(rows)

    assert await swept_sources(rows) == 1

    assert [one.reference for one in await rows.shelf.trash()] == [SOURCE.blob_key]


async def test_a_source_that_was_uploaded_again_is_not_swept_before_it_is_built(rows: Rows) -> None:
    """The function it was built for is deleted, and somebody is about to build it for another one."""
    await rows.upload(SOURCE)
    rows.clock.advance(1)
    await built(rows)
    rows.clock.advance(1)

    await rows.upload(SOURCE)
    [kept] = await rows.shelf.sources()
    assert not kept.built
    assert kept.artifacts == {K}
    assert await swept_sources(rows) == 0
    assert await rows.shelf.use_source(K) == SOURCE

    rows.clock.advance(1)
    await built(rows)
    [kept] = await rows.shelf.sources()
    assert kept.built
    assert await swept_sources(rows) == 1


async def test_a_source_that_was_uploaded_again_and_never_built_goes_after_the_grace(rows: Rows) -> None:
    await rows.upload(SOURCE)
    rows.clock.advance(1)
    await built(rows)
    rows.clock.advance(1)
    await rows.upload(SOURCE)

    rows.clock.advance(GRACE.total_seconds() - 1)
    assert await swept_sources(rows) == 0
    rows.clock.advance(1)
    assert await swept_sources(rows) == 1


async def test_a_source_that_is_uploaded_while_the_registry_is_asked_is_not_swept(rows: Rows) -> None:
    await rows.upload(SOURCE)
    rows.clock.advance(1)
    await built(rows)
    version, seen = await rows.shelf.version(), await rows.shelf.sources()

    await rows.upload(SOURCE)

    dead = dead_sources(seen, NOTHING_LIVES, now=rows.clock.now(), grace=GRACE)
    assert dead == [K]
    assert await rows.shelf.give_up_sources(dead, not_used_after=version) == 0


async def test_cached_images_go_when_nobody_uses_them(rows: Rows) -> None:
    await rows.shelf.keep_cached_image("k", "image-1", 1)
    rows.clock.advance(100)
    assert await rows.shelf.cached_image("k") == "image-1"
    assert await rows.shelf.give_up_cached_images(unused_since=rows.clock.now() - timedelta(seconds=50)) == 0
    await rows.shelf.keep_cached_image("k", "image-2", 1)

    assert await rows.shelf.known_images() == {"image-1", "image-2"}
    assert [one.reference for one in await rows.shelf.trash()] == ["image-1"]
    assert datetime.now(UTC)
