"""What is uploaded over REST goes on as it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from fnmesh.build.v1 import build_service_pb2 as pb
from gateway.rest import sources
from gateway.rest.caller import Caller

PIECE = bytes(3 * 1024 * 1024)


class Builds:
    """Takes an upload; `made` says how much of it there is already."""

    def __init__(self) -> None:
        self.build = self
        self.made = self.taken = self.most_ahead = self.largest = 0
        self.filename = ""

    async def UploadSource(self, parts: AsyncIterator[pb.UploadSourceRequest]) -> pb.UploadSourceResponse:
        async for part in parts:
            self.filename = part.filename or self.filename
            self.taken += len(part.chunk)
            self.largest = max(self.largest, part.ByteSize())
            self.most_ahead = max(self.most_ahead, self.made - self.taken)
        return pb.UploadSourceResponse(source_digest="sha256:0")


@pytest.mark.parametrize("pieces", [0, 1, 100])
async def test_never_more_than_a_piece_is_held(pieces: int) -> None:
    builds = Builds()

    async def content() -> AsyncIterator[bytes]:
        for _ in range(pieces):
            builds.made += len(PIECE)
            yield PIECE

    assert await sources.upload(cast("Caller", cast("Any", builds)), "app.zip", content()) == "sha256:0"
    assert (builds.taken, builds.filename) == (pieces * len(PIECE), "app.zip")
    assert builds.most_ahead < len(PIECE)
    assert builds.largest < 2 * 1024 * 1024
