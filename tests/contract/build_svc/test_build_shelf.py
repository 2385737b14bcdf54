"""What is put into the trash, what is taken out again, and what never is in it: on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from build_svc.archive_check import ArchiveLimits
from build_svc.domain import Artifact, ArtifactKind, Live, Source
from build_svc.hints import Hints
from build_svc.ports import Builder
from build_svc.retention import Retention
from build_svc.scratch import Scratch
from build_svc.shelf import SOURCE_BLOB, UPLOAD_BLOB, Trash
from build_svc.sources import Sources
from build_svc.sweep import Ages, Sweeper
from build_svc.tree_cache import TreeCache
from build_svc.users import BuildUsers
from mesh.blobs import LocalBlobs
from mesh.errors import Unavailable
from tests.contract.build_svc.build_rows import K, Rows

ARTIFACT = Artifact(K, ArtifactKind.TREE, "sha256/aa/1", 5, "handler.py")
SOURCE = Source(K, "blob/1", "handler.py", False, 1, None, "handler.py")
DAY_S = 86400


class _Builder:
    """Deletes what it is told to, but `stuck`."""

    def __init__(self, stuck: str) -> None:
        self.stuck = stuck
        self.deleted: list[str] = []

    async def delete(self, reference: str) -> bool:
        if reference == self.stuck:
            raise PermissionError(reference)
        self.deleted.append(reference)
        return True


class _NoImages:
    async def remove_leftovers(self, open_builds: object) -> int:
        return 0

    async def strays(self, **about: object) -> list[str]:
        return []


class _NothingLives:
    async def live(self) -> Live:
        return Live(frozenset(), frozenset())


def sweeper(rows: Rows, root: Path, builders: Mapping[ArtifactKind, Builder]) -> Sweeper:
    """A sweep of these tables, where no function is left; blobs are below `root`."""
    (root / "scratch").mkdir()
    registry = cast(Any, _NothingLives())
    return Sweeper(
        rows.store,
        rows.shelf,
        Retention(rows.database, registry, rows.clock, kept=50, grace=timedelta(hours=1)),
        registry,
        builders,
        LocalBlobs(root / "blobs"),
        TreeCache(root / "cache"),
        cast(Any, _NoImages()),
        Scratch(root / "scratch", BuildUsers(190_000)),
        Hints(),
        rows.clock,
        Ages(timedelta(hours=1), timedelta(days=7)),
    )


class _Blobs(LocalBlobs):
    """Does something when a blob has been stored."""

    after: Any = None

    async def put_stream(self, chunks: Any, *, max_bytes: int | None = None) -> tuple[str, int]:
        stored = await super().put_stream(chunks, max_bytes=max_bytes)
        if self.after is not None:
            await self.after()
        return stored


def _sources(rows: Rows, blobs: LocalBlobs, spool: Path) -> Sources:
    return Sources(rows.shelf, blobs, max_bytes=2**20, limits=ArchiveLimits(2**20, 10), spool=spool)


async def _code() -> AsyncIterator[bytes]:
    yield b"def handler(event): pass\n"


async def _stored(blobs: LocalBlobs) -> set[str]:
    return {info.key async for info in blobs.list()}


async def test_an_artifact_that_is_kept_twice_is_not_trash(rows: Rows) -> None:
    """So it is where a commit was done and its answer lost, and where two claims of one build made it."""
    await rows.shelf.keep_artifact(ARTIFACT)

    assert await rows.shelf.keep_artifact(ARTIFACT) == ARTIFACT

    assert await rows.shelf.trash() == []


async def test_a_source_that_is_kept_twice_is_not_trash(rows: Rows) -> None:
    await rows.upload(SOURCE)

    assert await rows.shelf.keep_source(SOURCE) == SOURCE

    assert await rows.shelf.trash() == []


async def test_of_two_uploads_of_a_source_the_blob_of_the_second_is_trash(rows: Rows, tmp_path: Path) -> None:
    blobs = _Blobs(tmp_path / "blobs")
    sources = _sources(rows, blobs, tmp_path)

    async def overtake() -> None:
        blobs.after = None
        await sources.upload("handler.py", _code())

    blobs.after = overtake
    kept = await sources.upload("handler.py", _code())

    [lost] = await _stored(blobs) - {kept.blob_key}
    assert await rows.shelf.trash() == [Trash(SOURCE_BLOB, lost)]
    await sweeper(rows, tmp_path, {}).step()
    assert await _stored(blobs) == {kept.blob_key}


async def test_what_a_killed_upload_has_stored_goes_a_day_later(rows: Rows, tmp_path: Path) -> None:
    blobs = _Blobs(tmp_path / "blobs")

    async def killed() -> None:
        raise RuntimeError("killed")

    blobs.after = killed
    with pytest.raises(RuntimeError):
        await _sources(rows, blobs, tmp_path).upload("handler.py", _code())
    [left] = await _stored(blobs)
    sweep = sweeper(rows, tmp_path, {})

    await sweep.step()
    assert await rows.shelf.trash() == [Trash(UPLOAD_BLOB, left)]
    assert await _stored(blobs) == {left}
    rows.clock.advance(DAY_S + 1)
    await sweep.step()

    assert await rows.shelf.trash() == []
    assert await _stored(blobs) == set()


async def test_an_upload_that_was_given_up_meanwhile_keeps_nothing(rows: Rows, tmp_path: Path) -> None:
    blobs = _Blobs(tmp_path / "blobs")
    sweep = sweeper(rows, tmp_path, {})

    async def a_day_passes() -> None:
        rows.clock.advance(DAY_S + 1)
        await sweep.step()

    blobs.after = a_day_passes
    with pytest.raises(Unavailable, match="upload it again"):
        await _sources(rows, blobs, tmp_path).upload("handler.py", _code())

    assert await rows.shelf.sources() == []
    assert await _stored(blobs) == set()


async def test_a_sweep_goes_on_past_what_cannot_be_deleted(rows: Rows, tmp_path: Path) -> None:
    references = ["sha256/aa/1", "sha256/bb/2", "sha256/cc/3"]
    for reference in references:
        await rows.shelf.discard("TREE", reference)
    builder = _Builder(stuck="sha256/bb/2")

    await sweeper(rows, tmp_path, {ArtifactKind.TREE: cast(Builder, builder)}).step()

    assert sorted(builder.deleted) == ["sha256/aa/1", "sha256/cc/3"]
    assert await rows.shelf.trash() == [Trash("TREE", "sha256/bb/2")]
