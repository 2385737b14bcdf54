"""Blobs in an object store (S3, GCS, Azure, memory), through obstore."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC
from typing import Any

from obstore.exceptions import BaseError, NotFoundError

from mesh.blobs import CHUNK_BYTES, BlobInfo, checked, digest_key, missing, spool
from mesh.errors import NotFound, Unavailable

_AGAIN_S = 5.0


@contextmanager
def _asked(key: str = "") -> Iterator[None]:
    """What obstore raises, as the mesh's own. Raises NotFound, Unavailable (BLOBS_UNAVAILABLE)."""
    try:
        yield
    except (FileNotFoundError, NotFoundError):
        raise missing(key) from None
    except BaseError as error:
        raise Unavailable(
            "BLOBS_UNAVAILABLE",
            f"The object store does not do what it is asked ({type(error).__name__}); see that it runs where"
            " FNMESH_BLOB_URL says, and that the credentials of this service are good there.",
            retry_after_s=_AGAIN_S,
        ) from error


class RemoteBlobs:
    """An object store of obstore."""

    def __init__(self, store: Any) -> None:
        self._store = store

    async def put_stream(self, chunks: AsyncIterable[bytes], *, max_bytes: int | None = None) -> tuple[str, int]:
        with tempfile.TemporaryFile() as file:
            digest, size = await spool(chunks, file, max_bytes)
            key = digest_key(digest)
            try:
                await self.head(key)
            except NotFound:
                file.seek(0)
                with _asked(key):
                    await self._store.put_async(key, file)
        return digest, size

    async def put(self, key: str, data: bytes) -> None:
        with _asked(checked(key)):
            await self._store.put_async(key, data)

    async def get(self, key: str) -> bytes:
        with _asked(checked(key)):
            answer = await self._store.get_async(key)
            return bytes(await answer.bytes_async())

    async def open_stream(self, key: str, *, offset: int = 0) -> AsyncIterator[bytes]:
        info = await self.head(key)
        while offset < info.size_bytes:
            length = min(4 * CHUNK_BYTES, info.size_bytes - offset)
            with _asked(key):
                part = bytes(await self._store.get_range_async(key, start=offset, length=length))
            for start in range(0, len(part), CHUNK_BYTES):
                yield part[start : start + CHUNK_BYTES]
            offset += len(part)

    async def head(self, key: str) -> BlobInfo:
        with _asked(checked(key)):
            meta = await self._store.head_async(key)
        return BlobInfo(key, meta["size"], meta["last_modified"].astimezone(UTC))

    async def delete(self, key: str) -> None:
        try:
            with _asked(checked(key)):
                await self._store.delete_async(key)
        except NotFound:
            return

    async def list(self, prefix: str = "") -> AsyncIterator[BlobInfo]:
        pages = aiter(self._store.list(checked(prefix) if prefix else None))
        while True:
            with _asked(prefix):
                page = await anext(pages, None)
            if page is None:
                return
            for meta in page:
                yield BlobInfo(meta["path"], meta["size"], meta["last_modified"].astimezone(UTC))
