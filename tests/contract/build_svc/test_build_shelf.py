"""What is put into the trash, and what never is: on SQLite and PostgreSQL."""

from __future__ import annotations

from dataclasses import replace

from build_svc.domain import Artifact, ArtifactKind
from build_svc.shelf import Trash
from tests.contract.build_svc.build_rows import K, Rows

ARTIFACT = Artifact(K, ArtifactKind.TREE, "sha256/aa/1", 5, "handler.py")


async def test_an_artifact_that_is_kept_twice_is_not_trash(rows: Rows) -> None:
    """So it is where a commit was done and its answer lost, and where two claims of one build made it."""
    await rows.shelf.keep_artifact(ARTIFACT)

    assert await rows.shelf.keep_artifact(ARTIFACT) == ARTIFACT

    assert await rows.shelf.trash() == []


async def test_of_two_artifacts_of_one_key_the_second_is_trash(rows: Rows) -> None:
    await rows.shelf.keep_artifact(ARTIFACT)

    kept = await rows.shelf.keep_artifact(replace(ARTIFACT, reference="sha256/bb/2"))

    assert kept == ARTIFACT
    assert await rows.shelf.trash() == [Trash("TREE", "sha256/bb/2")]
