"""Which ended builds are forgotten, and how much of them: on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, cast

import sqlalchemy as sa

from build_svc.domain import Artifact, ArtifactKind, Build, BuildState, LogLine, Progress, Stage
from build_svc.retention import Forgotten, OldBuild, Retention, to_forget
from build_svc.store import REQUEST_ID_LIVES
from build_svc.tables import events
from mesh.errors import NotFound
from tests.contract.build_svc.build_rows import Rows

HOUR = timedelta(hours=1)
KEPT = 3


class _Registry:
    """One that has all functions but `gone`."""

    def __init__(self, *gone: str) -> None:
        self.gone = set(gone)
        self.asked: list[str] = []

    async def resolve(self, name: str) -> object:
        self.asked.append(name)
        if name in self.gone:
            raise NotFound("FUNCTION_NOT_FOUND", f"There is no function '{name}'.")
        return object()


def of(rows: Rows, registry: _Registry | None = None) -> Retention:
    return Retention(rows.database, cast(Any, registry or _Registry()), rows.clock, kept=KEPT, grace=HOUR)


async def ended(rows: Rows, *, made: str = "", lines: int = 2, request_id: str = "") -> Build:
    """A build that has ended, and that the registry was told of; `made` is the digest of what it made."""
    build = await rows.accepted(request_id)
    await rows.claim("owner")
    told = [LogLine(Stage.INSTALL, f"line {number}") for number in range(lines)]
    await rows.store.record(build.uid, "owner", [Progress(Stage.INSTALL, 20), *told])
    artifact = Artifact(made, ArtifactKind.TREE, f"blob of {made}", 1, "handler.py") if made else None
    state = BuildState.DONE if made else BuildState.FAILED
    await rows.store.finish(build.uid, "owner", state, error="" if made else "It failed.", artifact=artifact)
    await rows.shelf.reported(build.uid, None)
    return build


async def kinds(rows: Rows, build: Build) -> list[str]:
    """The kinds of the events that there are of a build."""
    query = sa.select(events.c.kind).where(events.c.build_uid == build.uid).order_by(events.c.sequence)
    async with rows.database.read() as conn:
        return list((await conn.execute(query)).scalars())


async def swept(rows: Rows, *live: str, registry: _Registry | None = None) -> int:
    one = of(rows, registry)
    return await one.forget(await one.old(), live)


async def left(rows: Rows, builds: list[Build]) -> list[bool]:
    return [await rows.store.get(build.uid) is not None for build in builds]


async def test_the_newest_builds_of_a_function_are_kept_and_older_ones_forgotten(rows: Rows) -> None:
    made = [await ended(rows) for _ in range(KEPT + 2)]
    assert await swept(rows) == 0  # they have ended just now
    rows.clock.advance(HOUR.total_seconds() + 1)
    newest = await ended(rows)

    assert await swept(rows) == 3

    assert await left(rows, [*made, newest]) == [False, False, False, True, True, True]
    assert await kinds(rows, made[0]) == []
    assert "log_line" in await kinds(rows, made[3])
    assert await swept(rows) == 0


async def test_a_build_that_a_revision_came_from_loses_its_lines_only(rows: Rows) -> None:
    """The sweep learns from its row which source the artifact is made of."""
    served = await ended(rows, made="sha256:served", lines=5)
    others = [await ended(rows) for _ in range(KEPT)]
    rows.clock.advance(HOUR.total_seconds() + 1)

    assert await swept(rows, "sha256:served") == 1

    assert set(await kinds(rows, served)) == {"state_change"}
    assert await left(rows, [served, *others]) == [True] * 4
    last = (await rows.store.events_after(served.uid, 0, 100))[-1]
    found = await rows.store.get(served.uid)
    assert found is not None
    assert last.sequence == found.last_sequence  # whoever watches it sees its end
    assert await swept(rows, "sha256:served") == 0
    assert await swept(rows) == 1  # the revision is gone


async def test_a_build_that_may_be_asked_for_again_keeps_its_row(rows: Rows) -> None:
    asked = await ended(rows, request_id="once")
    for _ in range(KEPT):
        await ended(rows)
    rows.clock.advance(HOUR.total_seconds() + 1)

    assert await swept(rows) == 1
    assert await left(rows, [asked]) == [True]
    rows.clock.advance(REQUEST_ID_LIVES.total_seconds())
    assert await swept(rows) == 1
    assert await left(rows, [asked]) == [False]


async def test_the_builds_of_a_deleted_function_all_go(rows: Rows) -> None:
    done, failed = await ended(rows, made="sha256:served"), await ended(rows)
    going_on = await rows.accepted()
    registry = _Registry(done.function)
    assert await swept(rows, "sha256:served", registry=registry) == 0
    assert registry.asked == []  # what it made lives, and so does it
    assert await swept(rows, registry=registry) == 0
    rows.clock.advance(HOUR.total_seconds() + 1)

    assert await swept(rows, registry=registry) == 2

    assert await left(rows, [done, failed, going_on]) == [False, False, True]


async def test_what_was_not_reported_stays(rows: Rows) -> None:
    build = await rows.accepted()
    await rows.claim("owner")
    await rows.store.finish(build.uid, "owner", BuildState.FAILED, error="It failed.")
    for _ in range(KEPT):
        await ended(rows)
    rows.clock.advance(HOUR.total_seconds() + 1)

    assert await swept(rows, registry=_Registry(build.function)) == KEPT
    assert await left(rows, [build]) == [True]


async def test_two_that_sweep_at_once_forget_the_same(rows: Rows) -> None:
    made = [await ended(rows, lines=2500 if number == 1 else 10) for number in range(KEPT + 3)]
    rows.clock.advance(HOUR.total_seconds() + 1)

    await asyncio.gather(*(swept(rows) for _ in range(2)))

    assert await left(rows, made) == [False] * 3 + [True] * KEPT
    assert [await kinds(rows, build) for build in made[:3]] == [[], [], []]


def test_a_sweep_forgets_only_so_many() -> None:
    old = [OldBuild(str(number), None if number % 2 else "live", told=True, repeatable=False) for number in range(2000)]

    going = to_forget(old, {"live"})

    assert len(going.whole) == 500
    assert going.lines == []
    assert to_forget(old[:600], {"live"}) == Forgotten(
        [str(number) for number in range(1, 600, 2)], [str(number) for number in range(0, 400, 2)]
    )
