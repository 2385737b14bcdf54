"""One build from source to artifact: what is there already is not made again."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import BinaryIO, cast

from build_svc import archive_check
from build_svc.archive_check import ArchiveLimits, SourceInvalid
from build_svc.domain import (
    BUILDER_VERSION,
    IMAGE_TARGET,
    Artifact,
    ArtifactKind,
    Build,
    BuildFailed,
    Runtime,
    Source,
    Stage,
    Target,
    artifact_digest,
    server_of,
)
from build_svc.given_images import GivenImages
from build_svc.libraries import LibrariesInvalid
from build_svc.ports import Builder, Job, Journal
from build_svc.scratch import Scratch
from build_svc.shelf import Shelf
from build_svc.sources import Sources
from build_svc.targets import NO_PROCESSES
from build_svc.tree import TreeInvalid
from runtimes import catalog


class Pipeline:
    """Turns claimed builds into artifacts. `workshop` is a directory that any user may pass through."""

    def __init__(
        self,
        shelf: Shelf,
        sources: Sources,
        builders: Mapping[Target, Builder],
        given_images: GivenImages,
        *,
        workshop: Path,
        scratch: Scratch,
        limits: ArchiveLimits,
    ) -> None:
        self._shelf = shelf
        self._sources = sources
        self._builders = builders
        self._given_images = given_images
        self._workshop = workshop
        self._limits = limits
        self._scratch = scratch

    async def run(self, build: Build, owner: str, journal: Journal) -> tuple[Artifact, bool]:
        """The build's artifact, and whether it was there already. Raises BuildFailed with a sentence for its author."""
        try:
            return await self._run(build, owner, journal)
        except (SourceInvalid, LibrariesInvalid, TreeInvalid) as error:
            raise BuildFailed(str(error)) from error

    async def _run(self, build: Build, owner: str, journal: Journal) -> tuple[Artifact, bool]:
        if build.image:
            return await self._given(build, owner)
        source = await self._shelf.use_source(build.source_digest)
        if source is None:
            raise BuildFailed("The source is not stored any more; upload it again.")
        builder = self._builder(build)
        runtime = _runtime(build, source)
        _check_pair(runtime, build.target)
        async with AsyncExitStack() as stack:
            async with journal.stage(Stage.UNPACK):
                environment = await builder.environment(runtime, journal)
                key = _key(build, source, runtime, environment)
                found = await self._shelf.pin(build.uid, owner, key)
                if found is not None and await builder.is_there(found.reference):
                    return found, True
                if found is not None:
                    await self._shelf.lost(found)
                scratch, uid = await stack.enter_async_context(self._scratch.of(build.uid))
                await self._unpack(source, scratch / "app")
            app = scratch / "app"
            entry_file = _entry_file(source, runtime, app)
            job = Job(build, runtime, entry_file, key, app, scratch, uid, single_file=not source.is_zip)
            return await self._shelf.keep_artifact(await builder.make(job, journal)), False

    async def _given(self, build: Build, owner: str) -> tuple[Artifact, bool]:
        """An image that is run as it is: its digest was found out when the build was accepted."""
        if build.target != Target.KUBERNETES:
            raise BuildFailed(IMAGE_TARGET)
        key = artifact_digest({"image": build.image, "target": build.target})
        found = await self._shelf.pin(build.uid, owner, key)
        if found is not None:
            return found, True
        entry_file = await self._given_images.entry_file(build.image)
        artifact = Artifact(key, ArtifactKind.GIVEN_IMAGE, build.image, size_bytes=0, entry_file=entry_file)
        return await self._shelf.keep_artifact(artifact), False

    def _builder(self, build: Build) -> Builder:
        try:
            return self._builders[Target(build.target)]
        except (ValueError, KeyError):
            if build.target == Target.PROCESS:
                raise BuildFailed(NO_PROCESSES) from None
            raise BuildFailed(f"This mesh cannot build for the target '{build.target}'.") from None

    async def _unpack(self, source: Source, app: Path) -> None:
        await asyncio.to_thread(app.mkdir, mode=0o755)
        with tempfile.TemporaryFile(dir=self._workshop) as spooled:
            file = cast(BinaryIO, spooled)
            async for chunk in self._sources.read(source):
                await asyncio.to_thread(file.write, chunk)
            file.seek(0)
            if source.is_zip:
                await asyncio.to_thread(archive_check.unpack, file, app, self._limits)
            else:
                await asyncio.to_thread(_copy_to, file, app / source.filename)


def _key(build: Build, source: Source, runtime: Runtime, environment: Mapping[str, str]) -> str:
    """The artifact's digest. What is to be installed is part of the source; the handler's name is checked."""
    parts = {
        "source": source.digest,
        "runtime": runtime.value,
        "target": build.target,
        "handler": build.handler,
        "server": "" if runtime is Runtime.SPIN else catalog.runtime_version(server_of(runtime)),
        "builder": BUILDER_VERSION,
    }
    return artifact_digest(parts | {f"environment {name}": value for name, value in environment.items()})


def _runtime(build: Build, source: Source) -> Runtime:
    """What the function is said to be; what the source looks like where nothing is said."""
    if build.runtime in set(Runtime):
        return Runtime(build.runtime)
    if build.runtime:
        raise BuildFailed(f"This mesh cannot build for the runtime '{build.runtime}'.")
    if source.runtime is None:
        raise BuildFailed("The source has no handler: put handler.py or index.js at its root.")
    return source.runtime


def _check_pair(runtime: Runtime, target: str) -> None:
    if target == Target.KUBERNETES or (runtime is Runtime.SPIN) == (target == Target.SPIN):
        return
    if runtime is Runtime.SPIN:
        raise BuildFailed(f"This is a Spin component, which does not run on the target {target}; use the target spin.")
    raise BuildFailed(
        f"The target spin runs Spin components only, and this is {runtime.value} code; use another target, or"
        " the runtime spin."
    )


def _entry_file(source: Source, runtime: Runtime, app: Path) -> str:
    if source.runtime is runtime or runtime is Runtime.SPIN:  # whose builder looks for itself
        return source.entry_file
    mine = [path.name for path in app.iterdir() if catalog.runtime_of(path.name) == server_of(runtime)]
    try:
        return catalog.find_entrypoint(mine).file
    except catalog.NoHandlerFound:
        raise BuildFailed(
            f"The function's runtime is {runtime.value}, but the source has {source.entry_file} only;"
            " upload a source for it, or change the function's runtime."
        ) from None


def _copy_to(file: BinaryIO, target: Path) -> None:
    with target.open("xb") as out:
        shutil.copyfileobj(file, out)
    target.chmod(0o644)
