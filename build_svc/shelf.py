"""What is kept between builds: sources, artifacts, cached images; and how it is thrown away.

The race to fear: a sweep finds that nothing refers to artifact K, a build finds K and reuses it, the sweep deletes
it. It cannot happen, because

* a build that reuses K (`pin`) and a sweep that gives it up (`give_up`) are write transactions, which take turns.
  Giving up takes K's row away, so that a later build does not find it and builds anew;
* what a build makes has a reference that nothing else will ever have (the build's uid is in the tar's header, or in
  the image's labels), so that emptying the trash later cannot hit what was built anew under the same key;
* `give_up` keeps what an unfinished or unreported build has pinned, and what was used after the sweep began
  (`used_version`, from the counter that all write transactions share) - the registry was asked after that moment, so
  a build that was reported before it is in the registry's answer, and one reported later has a newer version.

The blob of a source is in the trash before it is stored, as an upload that nobody is to delete yet, and is taken out by
the transaction that keeps the source: whoever is killed in between leaves nothing that is not known.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from build_svc import rows
from build_svc.domain import FINAL_STATES, Artifact, Runtime, Source
from build_svc.leases import LeaseLost
from build_svc.tables import artifacts, builds, caches, sources, trash
from mesh.clock import Clock
from mesh.db import Database, current_version, next_version

SOURCE_BLOB = "source"
UPLOAD_BLOB = "upload"
"""A blob that is being stored for a source; whoever began to may have been killed."""
_FINAL = [state.value for state in FINAL_STATES]


@dataclass(frozen=True)
class Kept:
    """An artifact on the shelf. `referenced` says that a revision had it at some time."""

    artifact: Artifact
    referenced: bool
    used_time: datetime


@dataclass(frozen=True)
class KeptSource:
    """A source on the shelf, and the artifacts of the builds made from it; `open` if one has not ended.

    `built` says that a build of it has ended since it was last used. Where none has, somebody has just uploaded it,
    and is about to have it built.
    """

    digest: str
    used_time: datetime
    artifacts: frozenset[str]
    open: bool
    built: bool


@dataclass(frozen=True)
class Trash:
    """Something nobody refers to any more: a blob key or an image."""

    kind: str
    reference: str


class Shelf:
    """Sources and artifacts, by their digests."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def begin_upload(self, blob_key: str) -> None:
        """Note that a blob is about to be stored for a source: `keep_source` keeps it, or `give_up_uploads` gets it."""
        await self.discard(UPLOAD_BLOB, blob_key)

    async def keep_source(self, source: Source, *, instead_of: str = "") -> Source | None:
        """The source as it is kept: what was there under its digest wins, and the blob of the other is trash.

        Except where its blob is the one of `instead_of`, which was lost. None where the upload was given up.
        """

        async def work(conn: AsyncConnection) -> Source | None:
            found = await self._source(conn, source.digest)
            values = await self._used(conn)
            if found is not None and found.blob_key != instead_of:
                await conn.execute(sa.update(sources).where(sources.c.digest == source.digest).values(values))
                if found.blob_key != source.blob_key:  # it is the very same where this is the second try to keep it
                    await self._take_out(conn, UPLOAD_BLOB, source.blob_key)
                    await self._discard(conn, SOURCE_BLOB, source.blob_key)
                return found
            if not await self._take_out(conn, UPLOAD_BLOB, source.blob_key):
                return None
            await conn.execute(sa.delete(sources).where(sources.c.digest == source.digest))
            mine = {name: getattr(source, name) for name in ("digest", "blob_key", "filename", "is_zip", "size_bytes")}
            mine |= {"runtime": source.runtime or "", "entry_file": source.entry_file}
            await conn.execute(sa.insert(sources).values(mine | values))
            return source

        return await self._database.transaction(work)

    async def give_up_uploads(self, *, begun_before: datetime) -> int:
        """Have the blobs deleted of uploads that began before then and never ended. Returns how many there were."""

        async def work(conn: AsyncConnection) -> int:
            old = (trash.c.kind == UPLOAD_BLOB) & (trash.c.put_time < begun_before)
            return (await conn.execute(sa.update(trash).where(old).values(kind=SOURCE_BLOB))).rowcount

        return await self._database.transaction(work)

    async def use_source(self, digest: str) -> Source | None:
        """The source with that digest, kept from the sweep for a while; None if there is none."""

        async def work(conn: AsyncConnection) -> Source | None:
            values = await self._used(conn)
            await conn.execute(sa.update(sources).where(sources.c.digest == digest).values(values))
            return await self._source(conn, digest)

        return await self._database.transaction(work)

    async def pin(self, build_uid: str, owner: str, digest: str) -> Artifact | None:
        """The artifact with that digest, kept until the build has been reported; None if it has to be made."""

        async def work(conn: AsyncConnection) -> Artifact | None:
            mine = (builds.c.uid == build_uid) & (builds.c.lease_owner == owner)
            pinned = await conn.execute(sa.update(builds).where(mine).values(pinned_digest=digest))
            if not pinned.rowcount:
                raise LeaseLost(build_uid)
            row = (await conn.execute(sa.select(artifacts).where(artifacts.c.digest == digest))).one_or_none()
            if row is None:
                return None
            values = await self._used(conn)
            await conn.execute(sa.update(artifacts).where(artifacts.c.digest == digest).values(values))
            return rows.artifact_of(row._mapping)

        return await self._database.transaction(work)

    async def use_artifact(self, digest: str) -> Artifact | None:
        """The artifact with that digest, kept from the sweep for a while; None if there is none."""

        async def work(conn: AsyncConnection) -> Artifact | None:
            touch = sa.update(artifacts).where(artifacts.c.digest == digest).values(await self._used(conn))
            await conn.execute(touch)
            row = (await conn.execute(sa.select(artifacts).where(artifacts.c.digest == digest))).one_or_none()
            return rows.artifact_of(row._mapping) if row is not None else None

        return await self._database.transaction(work)

    async def keep_artifact(self, artifact: Artifact) -> Artifact:
        """The artifact as it is kept. Where two builds made the same one, the first stays, the other is trash."""

        async def work(conn: AsyncConnection) -> Artifact:
            query = sa.select(artifacts).where(artifacts.c.digest == artifact.digest)
            row = (await conn.execute(query)).one_or_none()
            values = await self._used(conn)
            if row is not None:
                if row.reference != artifact.reference:  # it is the very same where this is the second try to keep it
                    await self._discard(conn, artifact.kind.value, artifact.reference)
                await conn.execute(sa.update(artifacts).where(artifacts.c.digest == artifact.digest).values(values))
                found = rows.artifact_of(row._mapping)
                assert found is not None
                return found
            mine = {
                name: getattr(artifact, name) for name in ("digest", "kind", "reference", "size_bytes", "entry_file")
            }
            await conn.execute(sa.insert(artifacts).values(mine | values | {"referenced": False}))
            return artifact

        return await self._database.transaction(work)

    async def lost(self, artifact: Artifact) -> None:
        """What the row says is not there any more: forget the row."""

        async def work(conn: AsyncConnection) -> None:
            same = (artifacts.c.digest == artifact.digest) & (artifacts.c.reference == artifact.reference)
            await conn.execute(sa.delete(artifacts).where(same))

        await self._database.transaction(work)

    async def reported(self, build_uid: str, digest: str | None) -> None:
        """The registry knows how the build ended, and refers to its artifact from now on."""

        async def work(conn: AsyncConnection) -> None:
            await conn.execute(sa.update(builds).where(builds.c.uid == build_uid).values(reported=True))
            if digest is not None:
                values = await self._used(conn) | {"referenced": True}
                await conn.execute(sa.update(artifacts).where(artifacts.c.digest == digest).values(values))

        await self._database.transaction(work)

    async def version(self) -> int:
        """Where the counter of uses is; see `give_up`."""
        async with self._database.read() as conn:
            return await current_version(conn, "uses")

    async def artifacts(self) -> Sequence[Kept]:
        async with self._database.read() as conn:
            found = []
            for row in await conn.execute(sa.select(artifacts)):
                artifact = rows.artifact_of(row._mapping)
                assert artifact is not None
                found.append(Kept(artifact, row.referenced, row.used_time))
            return found

    async def sources(self) -> Sequence[KeptSource]:
        made_of: dict[str, set[str]] = {}
        open_ones: set[str] = set()
        built: dict[str, datetime] = {}
        columns = (builds.c.source_digest, builds.c.artifact_digest, builds.c.state)
        query = sa.select(*columns, sa.func.max(builds.c.end_time).label("end_time")).group_by(*columns)
        async with self._database.read() as conn:
            for row in await conn.execute(query):
                made_of.setdefault(row.source_digest, set()).add(row.artifact_digest)
                if row.state not in _FINAL:
                    open_ones.add(row.source_digest)
                elif row.end_time is not None:
                    built[row.source_digest] = max(row.end_time, built.get(row.source_digest, row.end_time))
            kept = await conn.execute(sa.select(sources.c.digest, sources.c.used_time))
            return [
                KeptSource(
                    row.digest,
                    row.used_time,
                    frozenset(made_of.get(row.digest, ())),
                    open=row.digest in open_ones,
                    built=row.digest in built and row.used_time <= built[row.digest],
                )
                for row in kept
            ]

    async def give_up(self, digests: Collection[str], *, not_used_after: int) -> int:
        """Move artifacts to the trash unless a build wants them; see the module. Returns how many were."""
        count = 0
        for digest in digests:

            async def work(conn: AsyncConnection, digest: str = digest) -> int:
                wanted = sa.exists().where(
                    builds.c.pinned_digest == digest,
                    sa.or_(builds.c.state.not_in(_FINAL), ~builds.c.reported),
                )
                gone = sa.delete(artifacts).where(
                    artifacts.c.digest == digest, artifacts.c.used_version <= not_used_after, ~wanted
                )
                row = (await conn.execute(gone.returning(artifacts.c.kind, artifacts.c.reference))).one_or_none()
                if row is not None:
                    await self._discard(conn, row.kind, row.reference)
                return row is not None

            count += await self._database.transaction(work)
        return count

    async def give_up_sources(self, digests: Collection[str], *, not_used_after: int) -> int:
        """Move sources to the trash unless a build that has not ended needs them. Returns how many were."""
        count = 0
        for digest in digests:

            async def work(conn: AsyncConnection, digest: str = digest) -> int:
                wanted = sa.exists().where(builds.c.source_digest == digest, builds.c.state.not_in(_FINAL))
                gone = sa.delete(sources).where(
                    sources.c.digest == digest, sources.c.used_version <= not_used_after, ~wanted
                )
                row = (await conn.execute(gone.returning(sources.c.blob_key))).one_or_none()
                if row is not None:
                    await self._discard(conn, SOURCE_BLOB, row.blob_key)
                return row is not None

            count += await self._database.transaction(work)
        return count

    async def discard(self, kind: str, reference: str) -> None:
        """Put something into the trash that no row refers to."""

        async def work(conn: AsyncConnection) -> None:
            await self._discard(conn, kind, reference)

        await self._database.transaction(work)

    async def trash(self) -> Sequence[Trash]:
        async with self._database.read() as conn:
            return [Trash(row.kind, row.reference) for row in await conn.execute(sa.select(trash))]

    async def emptied(self, one: Trash) -> None:
        """It has been deleted."""

        async def work(conn: AsyncConnection) -> None:
            await self._take_out(conn, one.kind, one.reference)

        await self._database.transaction(work)

    async def cached_image(self, key: str) -> str | None:
        """The image that holds what `key` names; noted as used."""

        async def work(conn: AsyncConnection) -> str | None:
            touch = sa.update(caches).where(caches.c.key == key).values(used_time=self._clock.now())
            found: str | None = (await conn.execute(touch.returning(caches.c.reference))).scalar_one_or_none()
            return found

        return await self._database.transaction(work)

    async def keep_cached_image(self, key: str, reference: str, size_bytes: int) -> None:
        """From now on `reference` holds what `key` names; what did before is trash."""

        async def work(conn: AsyncConnection) -> None:
            gone = sa.delete(caches).where(caches.c.key == key).returning(caches.c.reference)
            old = (await conn.execute(gone)).scalar_one_or_none()
            if old is not None and old != reference:
                await self._discard(conn, "IMAGE", old)
            values = {
                "key": key,
                "reference": reference,
                "size_bytes": size_bytes,
                "used_time": self._clock.now(),
            }
            await conn.execute(sa.insert(caches).values(values))

        await self._database.transaction(work)

    async def give_up_cached_images(self, *, unused_since: datetime) -> int:
        """Move cached images that nobody used for long to the trash. Returns how many were."""

        async def work(conn: AsyncConnection) -> int:
            gone = sa.delete(caches).where(caches.c.used_time < unused_since).returning(caches.c.reference)
            references = (await conn.execute(gone)).scalars().all()
            for reference in references:
                await self._discard(conn, "IMAGE", reference)
            return len(references)

        return await self._database.transaction(work)

    async def known_images(self) -> frozenset[str]:
        """Every image that a row refers to."""
        async with self._database.read() as conn:
            found = {row.reference for row in await conn.execute(sa.select(caches.c.reference))}
            for table in (artifacts, trash):
                query = sa.select(table.c.reference).where(table.c.kind == "IMAGE")
                found |= set((await conn.execute(query)).scalars())
        return frozenset(found)

    async def _discard(self, conn: AsyncConnection, kind: str, reference: str) -> None:
        same = (trash.c.kind == kind) & (trash.c.reference == reference)
        if (await conn.execute(sa.select(trash.c.kind).where(same))).one_or_none() is None:
            values = {"kind": kind, "reference": reference, "put_time": self._clock.now()}
            await conn.execute(sa.insert(trash).values(values))

    async def _take_out(self, conn: AsyncConnection, kind: str, reference: str) -> bool:
        """Take something out of the trash; whether it was there."""
        same = (trash.c.kind == kind) & (trash.c.reference == reference)
        return (await conn.execute(sa.delete(trash).where(same))).rowcount > 0

    async def _used(self, conn: AsyncConnection) -> dict[str, object]:
        return {"used_time": self._clock.now(), "used_version": await next_version(conn, "uses")}

    async def _source(self, conn: AsyncConnection, digest: str) -> Source | None:
        row = (await conn.execute(sa.select(sources).where(sources.c.digest == digest))).one_or_none()
        if row is None:
            return None
        return Source(
            digest=row.digest,
            blob_key=row.blob_key,
            filename=row.filename,
            is_zip=row.is_zip,
            size_bytes=row.size_bytes,
            runtime=Runtime(row.runtime) if row.runtime else None,
            entry_file=row.entry_file,
        )
