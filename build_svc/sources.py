"""Uploaded sources: checked on arrival, stored once, never whole in memory."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import IO, BinaryIO, cast

from build_svc import archive_check
from build_svc.archive_check import ArchiveLimits, SourceInvalid
from build_svc.blob_artifacts import CHUNK_BYTES, chunks, is_stored
from build_svc.domain import Runtime, Source, file_source_digest
from build_svc.shelf import Shelf
from mesh.blobs import BlobStore, digest_key
from mesh.errors import InvalidArgument, NotFound, ResourceExhausted, Unavailable
from runtimes import catalog

_NONCE_BYTES = 32
_LOOKED_AT_BYTES = 1024 * 1024


class Sources:
    """The sources in the blob store.

    A blob begins with 32 random bytes, so that its key is one that nothing else has or will have: what the sweep
    has given up can be deleted at any later time, also after the same source was uploaded again (see `shelf`).
    """

    def __init__(self, shelf: Shelf, blobs: BlobStore, *, max_bytes: int, limits: ArchiveLimits, spool: Path) -> None:
        self._shelf = shelf
        self._blobs = blobs
        self._max_bytes = max_bytes
        self._limits = limits
        self._spool = spool

    async def upload(self, filename: str, chunks: AsyncIterator[bytes]) -> Source:
        """Store what comes. Raises InvalidArgument (SOURCE_INVALID), ResourceExhausted (SOURCE_TOO_LARGE)."""
        with tempfile.TemporaryFile(dir=self._spool) as file:
            hexdigest, size = await self._receive(chunks, file)
            try:
                read = cast(BinaryIO, file)
                source = await asyncio.to_thread(_examine, filename, read, hexdigest, size, self._limits)
            except SourceInvalid as error:
                raise InvalidArgument("SOURCE_INVALID", str(error)) from error
            found = await self._shelf.use_source(source.digest)
            if found is not None and await is_stored(self._blobs, found.blob_key):
                return found
            nonce = secrets.token_bytes(_NONCE_BYTES)
            mine = replace(source, blob_key=digest_key(await asyncio.to_thread(_blob_digest, nonce, file)))
            await self._shelf.begin_upload(mine.blob_key)
            await self._blobs.put_stream(_with_nonce(nonce, file))
            kept = await self._shelf.keep_source(mine, instead_of=found.blob_key if found else "")
            if kept is None:
                message = "Storing the source took so long that it was given up; upload it again."
                raise Unavailable("UPLOAD_GIVEN_UP", message, retry_after_s=0)
            return kept

    async def _receive(self, chunks: AsyncIterator[bytes], file: IO[bytes]) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        async for chunk in chunks:
            size += len(chunk)
            if size > self._max_bytes:
                raise ResourceExhausted(
                    "SOURCE_TOO_LARGE",
                    f"The source is larger than {self._max_bytes // 2**20} MiB; leave out what the code does not need"
                    " (.fnmeshignore).",
                )
            digest.update(chunk)
            await asyncio.to_thread(file.write, chunk)
        if not size:
            raise InvalidArgument("SOURCE_INVALID", "The source is empty; send a zip archive or a file.")
        return digest.hexdigest(), size

    async def find(self, digest: str) -> Source:
        """The source with that digest. Raises NotFound (SOURCE_NOT_FOUND)."""
        source = await self._shelf.use_source(digest) if digest and digest.isprintable() else None
        if source is None:
            raise NotFound("SOURCE_NOT_FOUND", f"There is no source '{digest[:80]}'; upload it first.")
        return source

    async def read(self, source: Source) -> AsyncIterator[bytes]:
        """The bytes that were uploaded."""
        async for chunk in self._blobs.open_stream(source.blob_key, offset=_NONCE_BYTES):
            yield chunk


def _blob_digest(nonce: bytes, file: IO[bytes]) -> str:
    """The digest of what `_with_nonce` gives."""
    digest = hashlib.sha256(nonce)
    file.seek(0)
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"


async def _with_nonce(nonce: bytes, file: IO[bytes]) -> AsyncIterator[bytes]:
    yield nonce
    async for chunk in chunks(file):
        yield chunk


def _examine(filename: str, file: BinaryIO, hexdigest: str, size: int, limits: ArchiveLimits) -> Source:
    archive_check.check_filename(filename)
    if archive_check.is_zip(file):
        names = [str(path) for path in archive_check.list_files(file, limits)]
        if not names:
            raise SourceInvalid("The archive has no files in it; pack the directory with your handler.")
        digest, is_zip = f"sha256:{hexdigest}", True
        runtime, entry_file = _entry(names, lambda name: archive_check.read_start(file, name, limits, _LOOKED_AT_BYTES))
    elif filename.lower().endswith(".zip"):
        raise SourceInvalid(f"{filename} is not a zip archive; pack it again.")
    else:
        digest, is_zip = file_source_digest(filename, hexdigest), False
        file.seek(0)
        runtime, entry_file = _entry([filename], lambda _: file.read(_LOOKED_AT_BYTES))
    return Source(digest, "", filename, is_zip, size, runtime, entry_file)


def _entry(names: list[str], read: Callable[[str], bytes]) -> tuple[Runtime | None, str]:
    try:
        found = catalog.find_entrypoint(names)
    except catalog.NoHandlerFound as error:
        raise SourceInvalid(str(error)) from error
    runtime = Runtime(found.runtime)
    if runtime is Runtime.PYTHON and catalog.is_spin_code(read(found.file)):
        runtime = Runtime.SPIN
    return runtime, found.file
