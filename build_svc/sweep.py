"""What may be deleted, and deleting it: mark by what the registry says is alive, then sweep.

See `shelf` for why a sweep cannot take away what a build is about to reuse.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from build_svc.docker_images import BuiltImages
from build_svc.domain import ArtifactKind, Live
from build_svc.hints import Hints
from build_svc.ports import Builder, Registry
from build_svc.retention import Retention
from build_svc.scratch import Scratch
from build_svc.shelf import SOURCE_BLOB, UPLOAD_BLOB, Kept, KeptSource, Shelf, Trash
from build_svc.store import BuildStore
from build_svc.tree_cache import TreeCache
from mesh.blobs import BlobStore
from mesh.clock import Clock, Steadiness
from mesh.errors import MeshError
from mesh.logs import get_logger

log = get_logger(__name__)
_UPLOAD_MAX = timedelta(days=1)


def dead_artifacts(kept: Iterable[Kept], live: Collection[str], *, now: datetime, grace: timedelta) -> list[str]:
    """Artifacts that no revision refers to: at once where one did, after the grace where none ever did."""
    return [
        one.artifact.digest
        for one in kept
        if one.artifact.digest not in live and (one.referenced or one.used_time <= now - grace)
    ]


def dead_sources(kept: Iterable[KeptSource], live: Live, *, now: datetime, grace: timedelta) -> list[str]:
    """Sources that no function refers to and of which no living artifact was made.

    Those of deleted functions go at once, others after the grace: so do those that were uploaded again meanwhile.
    """
    return [
        one.digest
        for one in kept
        if not one.open
        and one.digest not in live.sources
        and not any(digest in live.artifacts for digest in one.artifacts)
        and ((one.built and one.artifacts - {None}) or one.used_time <= now - grace)
    ]


@dataclass(frozen=True)
class Ages:
    """How long what nobody refers to is kept: what never was referred to, and libraries for the next build."""

    grace: timedelta
    cache_unused: timedelta


class Sweeper:
    """`step` for a loop; `watch_deletions` for another one."""

    def __init__(
        self,
        store: BuildStore,
        shelf: Shelf,
        retention: Retention,
        registry: Registry,
        builders: Mapping[ArtifactKind, Builder],
        blobs: BlobStore,
        cache: TreeCache,
        images: BuiltImages,
        scratch: Scratch,
        hints: Hints,
        clock: Clock,
        ages: Ages,
    ) -> None:
        self._store = store
        self._shelf = shelf
        self._retention = retention
        self._registry = registry
        self._builders = builders
        self._blobs = blobs
        self._cache = cache
        self._images = images
        self._scratch = scratch
        self._hints = hints
        self._clock = clock
        self._ages = ages
        self._steadiness = Steadiness(clock)

    async def step(self) -> None:
        """One sweep. It may end at any point: the next one goes on. None for a while after the clock has jumped."""
        if not self._steadiness.lasted(self._ages.grace.total_seconds()):
            log.warning("not_swept", why="the clock has jumped: nobody knows how old anything is")
            return
        left = await self._scratch.remove_leftovers(self._store.open_uids)
        left += await self._images.remove_leftovers(self._store.open_uids)
        version = await self._shelf.version()  # before the registry is asked
        old = await self._retention.old()  # and so is this
        live = await self._registry.live()
        now = self._clock.now()
        artifacts = dead_artifacts(await self._shelf.artifacts(), live.artifacts, now=now, grace=self._ages.grace)
        given_up = await self._shelf.give_up(artifacts, not_used_after=version)
        sources = dead_sources(await self._shelf.sources(), live, now=now, grace=self._ages.grace)
        given_up += await self._shelf.give_up_sources(sources, not_used_after=version)
        given_up += await self._shelf.give_up_uploads(begun_before=now - _UPLOAD_MAX)
        unused_since = now - self._ages.cache_unused
        given_up += await self._shelf.give_up_cached_images(unused_since=unused_since)
        for image in await self._images.strays(
            older_than=now - self._ages.grace, known=await self._shelf.known_images()
        ):
            await self._shelf.discard(ArtifactKind.IMAGE.value, image)
        await asyncio.to_thread(self._cache.prune, unused_s=self._ages.cache_unused.total_seconds())
        emptied = await self._empty()
        forgotten = await self._retention.forget(old, live.artifacts)
        if given_up or emptied or left or forgotten:
            log.info("swept", given_up=given_up, deleted=emptied, leftovers=left, builds=forgotten)

    async def watch_deletions(self) -> None:
        """Sweep soon after a function was deleted, and cancel its builds. Raises when the stream ends."""
        async for function_uid in self._registry.deleted_functions():
            for uid in await self._store.open_of_function(function_uid):
                await self._store.request_cancel(uid)
                self._hints.cancel(uid)
                self._hints.changed(uid)
            self._hints.reports.set()
            self._hints.sweep.set()

    async def _empty(self) -> int:
        count = 0
        for one in await self._shelf.trash():
            try:
                gone = await self._deleted(one)
            except Exception as error:  # whatever is wrong with this one, the others go
                reason = error.reason if isinstance(error, MeshError) else type(error).__name__
                log.warning("sweep_delete_failed", kind=one.kind, reference=one.reference, reason=reason)
                continue
            if gone:
                await self._shelf.emptied(one)
                count += 1
        return count

    async def _deleted(self, one: Trash) -> bool:
        """Deletes it; False where it is in use still, or somebody may be about to keep it."""
        if one.kind == UPLOAD_BLOB:
            return False
        if one.kind == SOURCE_BLOB:
            await self._blobs.delete(one.reference)
            return True
        return one.kind == ArtifactKind.GIVEN_IMAGE or await self._builders[ArtifactKind(one.kind)].delete(
            one.reference
        )
