"""Artifacts that are blobs: what the builders have in common that make such."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import IO

from build_svc.domain import BuildFailed
from mesh.blobs import BlobStore, digest_key
from mesh.errors import NotFound, ResourceExhausted

CHUNK_BYTES = 1024 * 1024


class BlobArtifacts:
    """References are keys of `blobs`. What is larger than `max_bytes` is refused with `too_large`."""

    def __init__(self, blobs: BlobStore, *, max_bytes: int, too_large: str) -> None:
        self._blobs = blobs
        self._max_bytes = max_bytes
        self._too_large = too_large

    async def is_there(self, reference: str) -> bool:
        """Whether what was made under that reference can be used."""
        return await is_stored(self._blobs, reference)

    async def delete(self, reference: str) -> bool:
        """Delete it. Harmless when repeated."""
        await self._blobs.delete(reference)
        return True

    def _check_size(self, size_bytes: int) -> None:
        """Raises BuildFailed for what is too large."""
        if size_bytes > self._max_bytes:
            raise BuildFailed(self._too_large)

    async def _put(self, file: IO[bytes]) -> tuple[str, int]:
        """Reference and size of what is stored. Raises BuildFailed for what is too large."""
        try:
            digest, size = await self._blobs.put_stream(chunks(file), max_bytes=self._max_bytes)
        except ResourceExhausted:
            raise BuildFailed(self._too_large) from None
        return digest_key(digest), size


async def is_stored(blobs: BlobStore, key: str) -> bool:
    """Whether there is a blob under the key."""
    try:
        await blobs.head(key)
    except NotFound:
        return False
    return True


async def chunks(file: IO[bytes]) -> AsyncIterator[bytes]:
    """All of a file from its beginning, never whole in memory."""
    file.seek(0)
    while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
        yield chunk
