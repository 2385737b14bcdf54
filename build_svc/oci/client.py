"""An OCI registry: blobs and manifests of one repository (OCI distribution specification 1.1)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote

from build_svc.oci.credentials import Credentials
from build_svc.oci.errors import BlobTooLarge, RegistryError, RegistryTrouble
from build_svc.oci.patience import Patience
from build_svc.oci.reference import Repository

if TYPE_CHECKING:
    from build_svc.oci.session import Answer, Session

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ANY_MANIFEST = ", ".join(
    (
        MANIFEST,
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    )
)
"""What registries are asked for where it does not matter who made the image, and for how many machines."""
_PIECE_BYTES = 256 * 1024
_CHUNK_BYTES = 8 * 1024 * 1024
_LOST = (404, 416)
"""What a registry answers that knows nothing of an upload (any more)."""
_DELETED = (200, 202, 204, 404)
_NOT_DELETED = (400, 403, 405, 501)
_OCTETS = {"content-type": "application/octet-stream"}
Progress = Callable[[int], Awaitable[None]]


@dataclass(frozen=True)
class Blob:
    """Bytes under their digest, in memory or in a file."""

    media_type: str
    digest: str
    size_bytes: int
    content: bytes | Path

    @classmethod
    def of(cls, media_type: str, content: bytes | Path) -> Blob:
        """The blob of some content, which is read to its end."""
        if isinstance(content, bytes):
            return cls(media_type, digest_of(content), len(content), content)
        with content.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(media_type, f"sha256:{digest}", content.stat().st_size, content)

    async def read(self, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `end`."""
        if isinstance(self.content, bytes):
            yield self.content[start:end]
            return
        with await asyncio.to_thread(self.content.open, "rb") as file:
            file.seek(start)
            while start < end:
                piece = await asyncio.to_thread(file.read, min(_PIECE_BYTES, end - start))
                if not piece:
                    raise RegistryError("What is pushed changed meanwhile; push it again.")
                start += len(piece)
                yield piece


class RegistryClient:
    """One repository. All methods raise RegistryError, after having tried again where that may help."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._base = session.base

    async def has_blob(self, digest: str) -> bool:
        """Whether the repository has it."""
        return await self._session.tried(lambda: self._has_blob(digest))

    async def push_blob(self, blob: Blob, progress: Progress) -> bool:
        """Sends a blob unless it is there; whether it was sent. `progress` is told the bytes sent so far."""
        return await self._session.tried(lambda: self._push_blob(blob, progress))

    async def manifest_digest(self, reference: str) -> str | None:
        """Digest of the manifest with that tag or digest; None where there is none."""

        async def ask() -> str | None:
            answer = await self._session.call(
                "HEAD",
                self._manifest(reference),
                expect=(200, 404),
                headers={"accept": ANY_MANIFEST},
                doing="say what it has",
            )
            return answer.headers.get("docker-content-digest") if answer.status == 200 else None

        return await self._session.tried(ask)

    async def push_manifest(self, manifest: bytes, *references: str) -> str:
        """Stores a manifest under its digest, then under each tag; its digest."""
        digest = digest_of(manifest)

        async def put(reference: str) -> None:
            answer = await self._session.call(
                "PUT",
                self._manifest(reference),
                expect=(200, 201),
                body=manifest,
                headers={"content-type": MANIFEST},
                doing="take the manifest",
            )
            theirs = answer.headers.get("docker-content-digest", digest)
            if theirs != digest:
                raise RegistryError(f"The registry {self._session.registry} stored something else: {theirs[:80]}.")

        for reference in (digest, *references):
            await self._session.tried(lambda reference=reference: put(reference))  # type: ignore[misc]
        return digest

    async def delete_manifest(self, digest: str) -> bool:
        """Deletes a manifest, which may be gone already; False where the registry deletes nothing for us."""

        async def delete() -> bool:
            answer = await self._session.call(
                "DELETE", self._manifest(digest), expect=(*_DELETED, *_NOT_DELETED), doing="delete it"
            )
            return answer.status in _DELETED

        return await self._session.tried(delete)

    async def pull_manifest(self, reference: str, *, accept: str = MANIFEST) -> tuple[bytes, str]:
        """A manifest by tag or digest, and its digest; checked where the reference is one."""

        async def pull() -> tuple[bytes, str]:
            answer = await self._session.call(
                "GET", self._manifest(reference), expect=(200,), headers={"accept": accept}, doing="have it"
            )
            digest = digest_of(answer.body)
            if reference.startswith("sha256:") and digest != reference:
                raise RegistryError(f"The registry {self._session.registry} answered something else than {reference}.")
            return answer.body, digest

        return await self._session.tried(pull)

    async def pull_blob(self, digest: str, out: BinaryIO, *, max_bytes: int) -> int:
        """Writes a blob to a file and returns its size; the bytes are checked against the digest.

        Raises BlobTooLarge.
        """

        async def pull() -> int:
            out.seek(0)
            out.truncate()
            found, size = hashlib.sha256(), 0
            url = f"{self._base}/blobs/{quote(digest, safe=':')}"
            async with self._redirected(url) as pieces:
                async for piece in pieces:
                    size += len(piece)
                    if size > max_bytes:
                        raise BlobTooLarge(f"A layer is larger than {max_bytes // 2**20} MiB; it is not fetched.")
                    found.update(piece)
                    await asyncio.to_thread(out.write, piece)
            if f"sha256:{found.hexdigest()}" != digest:
                raise RegistryTrouble(f"The registry {self._session.registry} answered other bytes than {digest}")
            return size

        return await self._session.tried(pull)

    @asynccontextmanager
    async def _redirected(self, url: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes at a URL, or where it leads: registries keep blobs elsewhere."""
        for _ in range(5):
            async with self._session.opened(
                "GET", url, expect=(200, 301, 302, 303, 307, 308), doing="have it"
            ) as response:
                if response.status_code == 200:
                    yield response.aiter_bytes(_PIECE_BYTES)
                    return
                url = str(response.url.join(response.headers.get("location", "")))
        raise RegistryError(f"The registry {self._session.registry} leads in circles.")

    async def _has_blob(self, digest: str) -> bool:
        answer = await self._session.call(
            "HEAD", f"{self._base}/blobs/{quote(digest, safe=':')}", expect=(200, 307, 404), doing="say what it has"
        )
        return answer.status != 404

    async def _push_blob(self, blob: Blob, progress: Progress) -> bool:
        if await self._has_blob(blob.digest):  # also where the answer to an earlier try was lost
            return False
        begun = await self._session.call("POST", f"{self._base}/blobs/uploads/", expect=(202,), doing="take uploads")
        place, sent = begun.location, 0
        chunk = max(_CHUNK_BYTES, _least_chunk(begun.headers.get("oci-chunk-min-length", "")))
        if blob.size_bytes > chunk:  # in pieces: registries and proxies limit what they take at once
            while sent < blob.size_bytes:
                end = min(sent + chunk, blob.size_bytes)
                headers = {"content-range": f"{sent}-{end - 1}", "content-length": str(end - sent), **_OCTETS}
                answer = await self._session.call(
                    "PATCH",
                    place,
                    expect=(202, 204, *_LOST),
                    body=self._told(blob, sent, end, progress),
                    headers=headers,
                    doing="take a layer",
                )
                self._check_upload(answer)
                place, sent = answer.location or place, end
        rest = blob.size_bytes - sent
        answer = await self._session.call(
            "PUT",
            f"{place}{'&' if '?' in place else '?'}digest={quote(blob.digest, safe=':')}",
            expect=(201, 204, *_LOST),
            body=self._told(blob, sent, blob.size_bytes, progress),
            headers={"content-length": str(rest), **_OCTETS},
            doing="take a layer",
        )
        self._check_upload(answer)
        return True

    def _check_upload(self, answer: Answer) -> None:
        if answer.status in _LOST:
            raise RegistryTrouble(f"The registry {self._session.registry} has lost an upload that it had begun")

    def _told(self, blob: Blob, start: int, end: int, progress: Progress) -> Callable[[], AsyncIterator[bytes]]:
        async def pieces() -> AsyncIterator[bytes]:
            sent = start
            async for piece in blob.read(start, end):
                yield piece
                sent += len(piece)
                await progress(sent)

        return pieces

    def _manifest(self, reference: str) -> str:
        return f"{self._base}/manifests/{quote(reference, safe=':')}"


@asynccontextmanager
async def connected(
    repository: Repository, credentials: Credentials | None, *, plain: bool, patience: Patience
) -> AsyncIterator[RegistryClient]:
    """A client for a repository; its connections are closed with the context."""
    from build_svc.oci.session import Session  # now: a builder that never asks a registry does without httpx

    session = Session(repository, credentials, plain=plain, patience=patience)
    try:
        yield RegistryClient(session)
    finally:
        await session.close()


def digest_of(content: bytes) -> str:
    """`sha256:` and 64 hex digits."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _least_chunk(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 12 else 0
