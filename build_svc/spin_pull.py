"""Fetches Spin applications from registries, whoever pushed them, as sources that can be built."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from build_svc.blob_artifacts import CHUNK_BYTES, chunks
from build_svc.domain import Source
from build_svc.images import Images
from build_svc.oci.client import RegistryClient
from build_svc.oci.errors import BlobTooLarge
from build_svc.sources import Sources
from runtimes.spin import locked, manifest
from runtimes.spin.locked import LockedInvalid, StaticFile

_COMPONENT, _MOUNTED = "app.wasm", "files"


class SpinPull:
    """Keeps what it fetches in `sources`; `spool` is a directory for what is on its way. All files of an application
    together have at most `max_bytes`, as an upload has."""

    def __init__(self, sources: Sources, images: Images, *, max_bytes: int, spool: Path) -> None:
        self._sources = sources
        self._images = images
        self._max_bytes = max_bytes
        self._spool = spool

    async def fetch(self, image: str) -> Source:
        """The source of an image; the same image is the same source. Raises what `Images.opened` raises."""
        async with self._images.opened(image) as opened:
            return await self._fetch(opened.registry, opened.wanted)

    async def _fetch(self, registry: RegistryClient, wanted: str) -> Source:
        described, _ = await registry.pull_manifest(wanted)
        layers = locked.layers_of(described)
        (last,) = (one for one in layers.values() if one.media_type == locked.APPLICATION_LAYER)
        with (
            tempfile.TemporaryFile(dir=self._spool) as archive,
            zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed,
            tempfile.TemporaryFile(dir=self._spool) as spooled,
        ):
            layer = cast(BinaryIO, spooled)
            await registry.pull_blob(last.digest, layer, max_bytes=CHUNK_BYTES)
            layer.seek(0)
            app, component, files = locked.read(layer.read(), _MOUNTED)
            await asyncio.to_thread(_write, packed, manifest.FILE, manifest.write(app).encode())
            left = self._max_bytes
            for file in [StaticFile(_COMPONENT, component), *(_below(_MOUNTED, one) for one in files)]:
                if file.inline is not None:
                    left -= len(file.inline)
                    await asyncio.to_thread(_write, packed, file.path, file.inline)
                    continue
                if file.digest not in layers:
                    raise LockedInvalid(f"It names {file.digest[:80]}, which is none of its layers.")
                left -= await self._pulled(registry, file.digest, layer, max_bytes=left)
                await asyncio.to_thread(_write, packed, file.path, layer)
            packed.close()
            return await self._sources.upload("image.zip", chunks(archive))

    async def _pulled(self, registry: RegistryClient, digest: str, out: BinaryIO, *, max_bytes: int) -> int:
        """As `pull_blob`, with what all files together may have still left."""
        try:
            return await registry.pull_blob(digest, out, max_bytes=max_bytes)
        except BlobTooLarge:
            raise LockedInvalid(
                f"Its files together are larger than {self._max_bytes // 2**20} MiB; leave out what it does not need."
            ) from None


def _below(directory: str, file: StaticFile) -> StaticFile:
    path = PurePosixPath(file.path)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise LockedInvalid(f"It has a file that leads elsewhere: '{file.path[:100]}'.")
    return StaticFile(f"{directory}/{path}", file.digest, file.inline)


def _write(packed: zipfile.ZipFile, name: str, content: bytes | BinaryIO) -> None:
    """One entry, always of the same date: the same files make the same archive."""
    with packed.open(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), "w", force_zip64=True) as entry:
        if isinstance(content, bytes):
            entry.write(content)
        else:
            content.seek(0)
            shutil.copyfileobj(content, entry, CHUNK_BYTES)
