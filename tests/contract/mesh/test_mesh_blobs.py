"""Both blob stores through the same cases."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from obstore.store import MemoryStore, S3Store

from mesh.blobs import BlobStore, LocalBlobs, digest_key, open_blobs
from mesh.errors import NotFound, ResourceExhausted, Unavailable
from mesh.remote_blobs import RemoteBlobs
from tests.support import errors_page


@pytest.fixture(params=["local", "remote"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    return open_blobs(str(tmp_path / "blobs")) if request.param == "local" else RemoteBlobs(MemoryStore())


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_a_stream_is_stored_under_its_digest(blobs: BlobStore) -> None:
    data = b"x" * 3_000_000 + b"end"
    for _ in range(2):
        digest, size = await blobs.put_stream(chunks(data[:10], data[10:]))
        assert (digest, size) == (f"sha256:{hashlib.sha256(data).hexdigest()}", len(data))
    key = digest_key(digest)
    assert await blobs.get(key) == data
    assert b"".join([part async for part in blobs.open_stream(key, offset=5)]) == data[5:]
    assert [info.key async for info in blobs.list("sha256")] == [key]


async def test_too_much_leaves_nothing(blobs: BlobStore) -> None:
    with pytest.raises(ResourceExhausted):
        await blobs.put_stream(chunks(b"12345", b"6"), max_bytes=5)
    assert [info async for info in blobs.list()] == []


async def test_put_replaces_and_delete_may_be_repeated(blobs: BlobStore) -> None:
    await blobs.put("a/b", b"1")
    await blobs.put("a/b", b"22")
    assert (await blobs.head("a/b")).size_bytes == 2
    await blobs.delete("a/b")
    await blobs.delete("a/b")
    with pytest.raises(NotFound):
        await blobs.get("a/b")
    with pytest.raises(NotFound):
        await blobs.head("a/b")
    with pytest.raises(NotFound):
        _ = [part async for part in blobs.open_stream("a/b")]


@pytest.mark.parametrize("key", ["", "/a", "a//b", "../a", "a/../b", ".tmp/x", "a b", "a/"])
async def test_keys_cannot_leave_the_store(blobs: BlobStore, key: str) -> None:
    with pytest.raises(ValueError, match="not a blob key"):
        await blobs.put(key, b"")


async def test_a_local_store_leaves_no_temporary_files(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path)
    await blobs.put("a", b"1")
    assert list((tmp_path / ".tmp").iterdir()) == []


def _nobody_there() -> S3Store:
    return S3Store(
        "bucket",
        endpoint="http://127.0.0.1:1",
        region="x",
        access_key_id="id",
        secret_access_key="secret",
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )


async def test_an_object_store_that_cannot_be_reached_is_unavailable_and_says_what_to_do() -> None:
    blobs = RemoteBlobs(_nobody_there())

    async def read() -> None:
        _ = [part async for part in blobs.open_stream("a")]

    async def listed() -> None:
        _ = [info async for info in blobs.list()]

    for call in (
        lambda: blobs.put("a", b"x"),
        lambda: blobs.put_stream(chunks(b"x")),
        lambda: blobs.get("a"),
        lambda: blobs.head("a"),
        lambda: blobs.delete("a"),
        read,
        listed,
    ):
        with pytest.raises(Unavailable) as refused:
            await call()
        assert refused.value.reason == "BLOBS_UNAVAILABLE"
        assert refused.value.message == errors_page.answers("The machine")["a deploy while the object store is away"]
