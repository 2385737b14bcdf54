"""Blobs: bytes under a key. A local directory, or an object store through obstore; one face for both."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Protocol

from mesh.errors import NotFound, ResourceExhausted

CHUNK_BYTES = 1024 * 1024
_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:=@-]*(/[A-Za-z0-9_][A-Za-z0-9_.:=@-]*)*")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TEMPORARY = ".tmp"


@dataclass(frozen=True)
class BlobInfo:
    """What is known of a blob without reading it."""

    key: str
    size_bytes: int
    modified: datetime


def digest_key(digest: str) -> str:
    """The key of a content-addressed blob. ValueError where the digest is not `sha256:` and 64 hex digits."""
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"not a digest: {digest[:80]!r}")
    return f"sha256/{digest[7:9]}/{digest[7:]}"


class BlobStore(Protocol):
    """Keeps blobs. Writes are whole or not at all, and durable when they return. Missing keys raise NotFound.

    A store that refuses, or cannot be reached, raises Unavailable (BLOBS_UNAVAILABLE).
    """

    async def put_stream(self, chunks: AsyncIterable[bytes], *, max_bytes: int | None = None) -> tuple[str, int]:
        """Stores what comes under its own digest; the same bytes are stored once. Returns digest and size.

        Read it again by `digest_key(digest)`. Raises ResourceExhausted (BLOB_TOO_LARGE) above `max_bytes`.
        """
        ...

    async def put(self, key: str, data: bytes) -> None:
        """Stores bytes under a key, in place of what was there."""
        ...

    async def get(self, key: str) -> bytes:
        """All bytes of a blob."""
        ...

    def open_stream(self, key: str, *, offset: int = 0) -> AsyncIterator[bytes]:
        """The bytes of a blob from an offset on, in chunks of at most CHUNK_BYTES."""
        ...

    async def head(self, key: str) -> BlobInfo:
        """Size and age of a blob."""
        ...

    async def delete(self, key: str) -> None:
        """Deletes a blob; one that is not there is no error."""
        ...

    def list(self, prefix: str = "") -> AsyncIterator[BlobInfo]:
        """The blobs whose keys begin with `prefix/` (or all), in no order."""
        ...


def open_blobs(url: str) -> BlobStore:
    """The store at a directory (`/path` or `file:///path`) or at `s3://bucket/prefix`, `gs://...`,
    `az://...`.

    Object stores take their credentials from the environment, as obstore documents it.
    """
    if url.startswith("file://"):
        return LocalBlobs(Path(url.removeprefix("file://")))
    if "://" not in url:
        return LocalBlobs(Path(url))
    from obstore.store import from_url  # now: a mesh on one machine does without obstore

    from mesh.remote_blobs import RemoteBlobs

    return RemoteBlobs(from_url(url))


def checked(key: str) -> str:
    """The key. ValueError where no blob is called that."""
    if len(key) > 512 or not _KEY.fullmatch(key):
        raise ValueError(f"not a blob key: {key[:80]!r}")
    return key


def missing(key: str) -> NotFound:
    """What is raised where there is no such blob."""
    return NotFound("BLOB_NOT_FOUND", f"There is no blob '{key}'.", key=key)


async def spool(chunks: AsyncIterable[bytes], file: IO[bytes], max_bytes: int | None) -> tuple[str, int]:
    """Writes what comes to a file; its digest and size. Raises ResourceExhausted (BLOB_TOO_LARGE)."""
    digest, size = hashlib.sha256(), 0
    async for chunk in chunks:
        size += len(chunk)
        if max_bytes is not None and size > max_bytes:
            raise ResourceExhausted("BLOB_TOO_LARGE", f"More than {max_bytes:,} bytes were sent.")
        digest.update(chunk)
        await asyncio.to_thread(file.write, chunk)
    return f"sha256:{digest.hexdigest()}", size


class LocalBlobs:
    """A directory. Files appear by rename, after they have been synced."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        (root / _TEMPORARY).mkdir(mode=0o700, exist_ok=True)

    def path(self, key: str) -> Path:
        """The file of a blob, for those who can use one directly. Read only."""
        return self.root / checked(key)

    async def put_stream(self, chunks: AsyncIterable[bytes], *, max_bytes: int | None = None) -> tuple[str, int]:
        temporary = self._temporary()
        try:
            with temporary.open("xb") as file:
                digest, size = await spool(chunks, file, max_bytes)
                await asyncio.to_thread(_sync, file)
            await asyncio.to_thread(self._settle, temporary, self.path(digest_key(digest)))
        finally:
            temporary.unlink(missing_ok=True)
        return digest, size

    async def put(self, key: str, data: bytes) -> None:
        target = self.path(key)
        await asyncio.to_thread(self._put, target, data)

    async def get(self, key: str) -> bytes:
        try:
            return await asyncio.to_thread(self.path(key).read_bytes)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise missing(key) from None

    async def open_stream(self, key: str, *, offset: int = 0) -> AsyncIterator[bytes]:
        try:
            file = await asyncio.to_thread(self.path(key).open, "rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise missing(key) from None
        with file:
            file.seek(offset)
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                yield chunk

    async def head(self, key: str) -> BlobInfo:
        try:
            return self._info(self.path(key))
        except (FileNotFoundError, NotADirectoryError):
            raise missing(key) from None

    async def delete(self, key: str) -> None:
        await asyncio.to_thread(self.path(key).unlink, missing_ok=True)

    async def list(self, prefix: str = "") -> AsyncIterator[BlobInfo]:
        base = self.root / checked(prefix) if prefix else self.root
        for path in await asyncio.to_thread(lambda: list_files(base)):
            if self.root / _TEMPORARY in path.parents:
                continue
            try:
                yield self._info(path)
            except FileNotFoundError:
                continue

    def _info(self, path: Path) -> BlobInfo:
        stat = path.stat()
        key = path.relative_to(self.root).as_posix()
        return BlobInfo(key, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))

    def _temporary(self) -> Path:
        return self.root / _TEMPORARY / secrets.token_hex(12)

    def _put(self, target: Path, data: bytes) -> None:
        temporary = self._temporary()
        try:
            with temporary.open("xb") as file:
                file.write(data)
                _sync(file)
            self._settle(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)

    def _settle(self, temporary: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(target)
        for directory in (target.parent, target.parent.parent):
            handle = os.open(directory, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def list_files(base: Path) -> list[Path]:
    """All files below a directory."""
    return [path for path in base.rglob("*") if path.is_file()]


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
