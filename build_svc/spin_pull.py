"""Fetches Spin applications from registries, whoever pushed them, as sources that can be built."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
import zipfile
from collections.abc import AsyncIterator, Collection
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast

from build_svc.domain import Source
from build_svc.oci import reference
from build_svc.oci.client import RegistryClient, connected
from build_svc.oci.credentials import DockerCredentials
from build_svc.oci.errors import NotThere, RegistryError, RegistryTrouble
from build_svc.oci.patience import Patience
from build_svc.oci.reference import ReferenceInvalid
from build_svc.sources import Sources
from mesh.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from runtimes.spin import locked, manifest
from runtimes.spin.locked import LockedInvalid, StaticFile

_CHUNK_BYTES = 1024 * 1024
_COMPONENT, _MOUNTED = "app.wasm", "files"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LATEST = "latest"


class SpinPull:
    """Keeps what it fetches in `sources`; `spool` is a directory for what is on its way."""

    def __init__(
        self,
        sources: Sources,
        credentials: DockerCredentials,
        *,
        max_bytes: int,
        spool: Path,
        insecure: Collection[str] = (),
        patience: Patience | None = None,
    ) -> None:
        self._sources = sources
        self._credentials = credentials
        self._max_bytes = max_bytes
        self._spool = spool
        self._insecure = insecure
        self._patience = patience or Patience(answer_s=30, tries=2)  # somebody waits for the answer

    async def fetch(self, image: str) -> Source:
        """The source of an image; the same image is the same source.

        Raises InvalidArgument (IMAGE_INVALID), NotFound (IMAGE_NOT_FOUND), FailedPrecondition (IMAGE_INVALID,
        REGISTRY_REFUSED), Unavailable (REGISTRY_UNAVAILABLE).
        """
        try:
            name, _, digest = image.partition("@")
            repository = reference.parse(name)
            plain = reference.is_plain(repository, self._insecure)
            if digest and not _DIGEST.fullmatch(digest):
                raise ReferenceInvalid(f"'{digest[:100]}' is not a digest: write sha256: and 64 hex digits.")
        except ReferenceInvalid as error:
            raise InvalidArgument("IMAGE_INVALID", str(error), fields={"image": str(error)}) from None
        try:
            mine = await self._credentials.find(repository.registry)
            async with connected(repository, mine, plain=plain, patience=self._patience) as registry:
                return await self._fetch(registry, digest or repository.tag or _LATEST)
        except LockedInvalid as error:
            raise FailedPrecondition("IMAGE_INVALID", f"The image {image[:300]} cannot be run here. {error}") from None
        except NotThere:
            raise NotFound("IMAGE_NOT_FOUND", f"There is no image '{image[:300]}'.") from None
        except RegistryTrouble as error:
            raise Unavailable("REGISTRY_UNAVAILABLE", f"{error}; try again in a moment.", retry_after_s=5) from None
        except RegistryError as error:
            raise FailedPrecondition("REGISTRY_REFUSED", str(error)) from None

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
            await registry.pull_blob(last.digest, layer, max_bytes=_CHUNK_BYTES)
            layer.seek(0)
            app, component, files = locked.read(layer.read(), _MOUNTED)
            await asyncio.to_thread(_write, packed, manifest.FILE, manifest.write(app).encode())
            for file in [StaticFile(_COMPONENT, component), *(_below(_MOUNTED, one) for one in files)]:
                if file.inline is not None:
                    await asyncio.to_thread(_write, packed, file.path, file.inline)
                    continue
                if file.digest not in layers:
                    raise LockedInvalid(f"It names {file.digest[:80]}, which is none of its layers.")
                await registry.pull_blob(file.digest, layer, max_bytes=self._max_bytes)
                await asyncio.to_thread(_write, packed, file.path, layer)
            packed.close()
            return await self._sources.upload("image.zip", _chunks(archive))


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
            shutil.copyfileobj(content, entry, _CHUNK_BYTES)


async def _chunks(file: IO[bytes]) -> AsyncIterator[bytes]:
    file.seek(0)
    while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
        yield chunk
