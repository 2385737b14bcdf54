"""Pushes a Spin component as Spin's own artifact, so that `spin up -f` and SpinKube can run it."""

from __future__ import annotations

import asyncio
import json
import shutil
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from build_svc.domain import Artifact
from build_svc.oci.client import Blob, RegistryClient
from build_svc.oci.errors import RegistryError
from build_svc.ports import Journal
from build_svc.scratch import Scratch
from mesh.blobs import BlobStore
from mesh.errors import NotFound
from runtimes.spin import application, locked
from runtimes.spin.locked import Descriptor, StaticFile

_COMPONENT, _FACTS, _FILES = "app.wasm", "artifact.json", "files/"
_FACTS_BYTES = 1024 * 1024
_COPY_BYTES = 1024 * 1024
_TAG_DIGITS = 8
_BROKEN = "The artifact is not whole any more; build it again."


@dataclass(frozen=True)
class SpinImage:
    """What is pushed of a component; the layers in the order of the manifest."""

    layers: tuple[Blob, ...]
    config: Blob
    manifest: bytes


class SpinPush:
    """Reads artifacts of the blob store; unpacks them in `scratch`."""

    def __init__(self, blobs: BlobStore, scratch: Scratch) -> None:
        self._blobs = blobs
        self._scratch = scratch

    async def push(
        self, build_uid: str, artifact: Artifact, registry: RegistryClient, tag: str, journal: Journal
    ) -> tuple[str, str]:
        """Tag and digest under which it is there; the tag is made of the content where none is given.

        Raises RegistryError.
        """
        async with self._scratch.of(build_uid) as (place, _):
            return await self.push_from(place, artifact, registry, tag, journal)

    async def push_from(
        self,
        place: Path,
        artifact: Artifact,
        registry: RegistryClient,
        tag: str,
        journal: Journal,
        *,
        annotations: Mapping[str, str] | None = None,
    ) -> tuple[str, str]:
        """As `push`, with a directory to unpack to, and what the manifest shall say besides."""
        with tempfile.TemporaryDirectory(dir=place) as own, tempfile.TemporaryFile(dir=own) as archive:
            await self._fetch(artifact.reference, archive)
            image = await asyncio.to_thread(image_of, archive, Path(own), annotations)
            blobs = [*image.layers, image.config]
            digest = Blob.of(locked.MANIFEST, image.manifest).digest
            tag = tag or digest.removeprefix("sha256:")[:_TAG_DIGITS]
            if await registry.manifest_digest(tag) == digest:
                await journal.line("It is there already; nothing to push.")
                return tag, digest
            await self._push_blobs(blobs, registry, journal)
            await registry.push_manifest(image.manifest, tag)
            return tag, digest

    async def _fetch(self, reference: str, archive: IO[bytes]) -> None:
        try:
            async for chunk in self._blobs.open_stream(reference):
                await asyncio.to_thread(archive.write, chunk)
        except NotFound:
            raise RegistryError(_BROKEN) from None
        archive.seek(0)

    async def _push_blobs(self, blobs: list[Blob], registry: RegistryClient, journal: Journal) -> None:
        total, before = sum(blob.size_bytes for blob in blobs), 0

        async def progress(done: int) -> None:
            await journal.progress((before + done) / total)

        for blob in blobs:
            sent = await registry.push_blob(blob, progress)
            before += blob.size_bytes
            await progress(0)
            shown = f"{blob.digest.removeprefix('sha256:')[:12]} ({blob.size_bytes:,} bytes)"
            await journal.line(f"{shown} {'pushed' if sent else 'is there already'}")


def image_of(archive: IO[bytes], place: Path, annotations: Mapping[str, str] | None) -> SpinImage:
    """The image of an artifact's tar, whose component is unpacked to `place`. Raises RegistryError."""
    facts, files = b"", []
    component = place / _COMPONENT
    try:
        with tarfile.open(fileobj=archive, mode="r:") as tar:
            for number, member in enumerate(tar):
                content = tar.extractfile(member) if member.isreg() else None
                if content is None:
                    continue
                if member.name == _FACTS:
                    facts = content.read(_FACTS_BYTES)
                elif member.name == _COMPONENT:
                    _copy(content, component)
                elif member.name.startswith(_FILES):
                    files.append((member.name.removeprefix(_FILES), _file(content, place / f"file-{number}")))
        described = json.loads(facts)
        wasm = Blob.of(locked.WASM_LAYER, component)
        if described["wasm_digest"] != wasm.digest:
            raise RegistryError(_BROKEN)
        app = application.from_json(described["app"])
    except (tarfile.TarError, EOFError, ValueError, KeyError, TypeError) as error:
        raise RegistryError(_BROKEN) from error
    seen = [StaticFile(path, blob.digest, _inline(blob)) for path, blob in files]
    locked_text = locked.locked_app(app, wasm.digest, seen)
    layers = {wasm.digest: wasm}
    layers |= {blob.digest: blob for _, blob in sorted(files, key=lambda one: one[0]) if _inline(blob) is None}
    last = Blob.of(locked.APPLICATION_LAYER, locked_text)
    config = Blob.of(locked.CONFIG, locked.image_config(locked_text))
    ordered = (*layers.values(), last)
    described_image = locked.image_manifest(_descriptor(config), [_descriptor(one) for one in ordered], annotations)
    return SpinImage(ordered, config, described_image)


def _inline(blob: Blob) -> bytes | None:
    return blob.content if isinstance(blob.content, bytes) else None


def _file(content: IO[bytes], path: Path) -> Blob:
    """The blob of a static file: in memory where it is so small that it goes into the locked application."""
    head = content.read(locked.INLINE_BYTES + 1)
    if len(head) <= locked.INLINE_BYTES:
        return Blob.of(locked.DATA_LAYER, head)
    with path.open("xb") as out:
        out.write(head)
        shutil.copyfileobj(content, out, _COPY_BYTES)
    return Blob.of(locked.DATA_LAYER, path)


def _copy(content: IO[bytes], path: Path) -> None:
    with path.open("xb") as out:
        shutil.copyfileobj(content, out, _COPY_BYTES)


def _descriptor(blob: Blob) -> Descriptor:
    return Descriptor(blob.media_type, blob.digest, blob.size_bytes)
