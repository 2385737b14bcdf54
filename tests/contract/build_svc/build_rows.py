"""The tables of build_svc in a database of their own, and a clock that stands still."""

from __future__ import annotations

from build_svc.domain import Build, BuildState, Source
from build_svc.shelf import Shelf
from build_svc.store import BuildStore
from mesh import ids
from mesh.clock import FakeClock
from mesh.db import Database

K = "sha256:" + "a" * 64
LEASE_S = 10.0


class Rows:
    """The two stores of one database, and a clock."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = FakeClock()
        self.store = BuildStore(database, self.clock)
        self.shelf = Shelf(database, self.clock)

    async def accepted(self, request_id: str = "", **more: object) -> Build:
        build = Build(ids.new_sortable_id(), "workspaces/w/functions/f", "fn-f", K, False, BuildState.PENDING,
                      self.clock.now())  # fmt: skip
        made, _ = await self.store.create(build, request_id)
        return await self.store.accept(made.uid, revision="r/1", runtime="python", target="process", handler="handler")

    async def claim(self, owner: str) -> Build | None:
        return await self.store.claim(owner, lease_s=LEASE_S, accept_s=30)

    async def upload(self, source: Source, *, instead_of: str = "") -> Source | None:
        """What is kept where somebody has stored the blob of `source`."""
        await self.shelf.begin_upload(source.blob_key)
        return await self.shelf.keep_source(source, instead_of=instead_of)
