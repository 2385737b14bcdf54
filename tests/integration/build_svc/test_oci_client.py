"""The registry client against a registry that has bad days."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from build_svc.oci import reference
from build_svc.oci.client import Blob, RegistryClient, connected, digest_of
from build_svc.oci.credentials import Credentials
from build_svc.oci.errors import CredentialsRefused, RegistryError
from build_svc.oci.patience import Patience
from mesh.loops import Backoff
from tests.support.errors_page import answers
from tests.support.ports import free_port
from tests.support.registry_stub import RegistryStub, Trouble, own_certificate, running_stub

ANSWERS = answers("Pushing to a registry")
HASTY = Patience(connect_s=10, answer_s=30, tries=3, between=Backoff(0.01))
SMALL = Blob.of("text/plain", b"a small blob")
LARGE = Blob.of("text/plain", b"0123456789abcdef" * (20 * 65536))  # 20 MiB: three pieces
ME = Credentials("me", "my password")


@pytest.fixture
def stub() -> Iterator[RegistryStub]:
    with running_stub() as running:
        yield running


@asynccontextmanager
async def client_of(
    stub: RegistryStub, credentials: Credentials | None = None, patience: Patience = HASTY
) -> AsyncIterator[RegistryClient]:
    repository = reference.parse(f"{stub.scheme}://{stub.address}/made/up")
    plain = reference.is_plain(repository, frozenset())
    async with connected(repository, credentials, plain=plain, patience=patience) as client:
        yield client


def told(error: RegistryError, stub: RegistryStub) -> str:
    """An error as docs/errors.md has it: without what differs from one registry to the next."""
    text = str(error).replace(stub.address, "<registry>")
    return re.sub(r"(within|tried) [0-9.]+ ", r"\1 N ", text)


async def ignored(sent: int) -> None:
    """Progress that nobody wants to know of."""


async def test_blobs_are_sent_once_and_large_ones_in_pieces(stub: RegistryStub) -> None:
    told: list[int] = []

    async def progress(sent: int) -> None:
        told.append(sent)

    async with client_of(stub) as client:
        assert await client.push_blob(SMALL, ignored)
        assert await client.push_blob(LARGE, progress)
        assert not await client.push_blob(LARGE, ignored)
        assert await client.has_blob(SMALL.digest)
        assert not await client.has_blob(digest_of(b"another"))

    assert stub.blobs == {SMALL.digest: SMALL.content, LARGE.digest: LARGE.content}
    assert stub.count("^PATCH") == 3
    assert stub.count("^POST") == 2
    assert told == sorted(told)
    assert told[-1] == LARGE.size_bytes


async def test_a_file_is_sent_as_a_blob(stub: RegistryStub, tmp_path: Path) -> None:
    path = tmp_path / "blob"
    content = os.urandom(9 * 1024 * 1024)
    path.write_bytes(content)

    async with client_of(stub) as client:
        await client.push_blob(Blob.of("x/y", path), ignored)

    assert stub.blobs == {digest_of(content): content}


async def test_a_manifest_is_stored_by_digest_and_by_tag(stub: RegistryStub) -> None:
    async with client_of(stub) as client:
        assert await client.manifest_digest("v1") is None
        digest = await client.push_manifest(b"{}", "v1")
        assert await client.manifest_digest("v1") == digest
        assert await client.pull_manifest(digest) == (b"{}", digest)

    assert stub.manifests == {digest: b"{}", "v1": b"{}"}


async def test_what_a_registry_breaks_off_or_answers_with_5xx_is_tried_again(stub: RegistryStub) -> None:
    stub.troubles = [
        Trouble("^HEAD", 502), Trouble("^PUT .*blobs", 503, headers={"retry-after": "0"}), Trouble("^PATCH", 500),
        Trouble("^PUT .*manifests", 429, 2),
    ]  # fmt: skip

    async with client_of(stub) as client:
        await client.push_blob(SMALL, ignored)
        await client.push_blob(LARGE, ignored)
        await client.push_manifest(b"{}", "v1")

    assert set(stub.blobs) == {SMALL.digest, LARGE.digest}
    assert "v1" in stub.manifests


async def test_an_upload_that_the_registry_has_lost_is_begun_again(stub: RegistryStub) -> None:
    stub.troubles = [Trouble("^PATCH", 404), Trouble("^PUT", 416)]

    async with client_of(stub) as client:
        await client.push_blob(LARGE, ignored)

    assert stub.blobs == {LARGE.digest: LARGE.content}
    assert stub.count("^POST") == 3


async def test_a_registry_that_stays_broken_or_full_is_named_with_its_own_words(stub: RegistryStub) -> None:
    full = [{"code": "UNKNOWN", "message": "unknown error", "detail": "no space left on device"}]
    stub.troubles = [Trouble("^PUT", 500, 99, errors=full)]

    async with client_of(stub) as client:
        with pytest.raises(RegistryError) as caught:
            await client.push_blob(SMALL, ignored)

    assert told(caught.value, stub) == ANSWERS["a registry that is full"]


async def test_what_a_registry_refuses_is_not_tried_again(stub: RegistryStub) -> None:
    denied = [{"code": "DENIED", "message": "requested access to the resource is denied"}]
    stub.troubles = [Trouble("^POST", 403, 99, errors=denied)]

    async with client_of(stub) as client:
        with pytest.raises(RegistryError) as caught:
            await client.push_blob(SMALL, ignored)

    assert told(caught.value, stub) == ANSWERS["a user that may not push there"]
    assert stub.count("^POST") == 1


@pytest.mark.parametrize("token", [False, True])
async def test_a_registry_is_told_who_pushes(stub: RegistryStub, token: bool) -> None:
    stub.user, stub.token = "me:my password", token

    async with client_of(stub, ME) as client:
        await client.push_blob(SMALL, ignored)
        await client.push_manifest(b"{}", "v1")

    assert "v1" in stub.manifests
    assert stub.count("/token") == int(token)


@pytest.mark.parametrize("token", [False, True])
@pytest.mark.parametrize("given", [Credentials("me", "a wrong password"), None])
async def test_refused_credentials_are_told_so(stub: RegistryStub, given: Credentials | None, token: bool) -> None:
    stub.user, stub.token = "me:my password", token

    async with client_of(stub, given) as client:
        with pytest.raises(CredentialsRefused) as caught:
            await client.push_blob(SMALL, ignored)

    row = "wrong credentials" if given else "no credentials where some are needed"
    assert told(caught.value, stub) == ANSWERS[row]


async def test_no_more_is_read_of_a_token_server_than_a_token_takes(stub: RegistryStub) -> None:
    stub.user, stub.token = "me:my password", True
    stub.troubles = [Trouble("/token", 200, errors=[{"message": "x" * 5 * 2**20}])]

    async with client_of(stub, ME) as client:
        with pytest.raises(RegistryError, match="answered more than 4 MiB"):
            await client.has_blob(SMALL.digest)


async def test_credentials_are_not_sent_to_where_a_registry_leads(stub: RegistryStub) -> None:
    with running_stub() as other:
        stub.user = other.user = "me:my password"
        stub.troubles = [Trouble("^POST", 202, headers={"location": f"http://{other.address}/v2/x/blobs/uploads/1"})]

        async with client_of(stub, ME) as client:
            await client.has_blob(SMALL.digest)  # from here on it knows how to say who it is
            with pytest.raises(CredentialsRefused):
                await client.push_blob(SMALL, ignored)

        assert other.count("^PUT") == 1  # which came without credentials: with them it would have been a 404


async def test_a_registry_that_does_not_answer_in_time(stub: RegistryStub) -> None:
    stub.troubles = [Trouble("^HEAD", 0, 99)]

    async with client_of(stub, patience=Patience(answer_s=0.2, tries=2, between=Backoff(0.01))) as client:
        with pytest.raises(RegistryError) as caught:
            await client.has_blob(SMALL.digest)

    assert told(caught.value, stub) == ANSWERS["a registry that never answers"]


async def test_a_registry_that_is_down() -> None:
    stub = RegistryStub()
    stub.address = f"127.0.0.1:{free_port()}"

    async with client_of(stub) as client:
        with pytest.raises(RegistryError) as caught:
            await client.has_blob(SMALL.digest)

    assert told(caught.value, stub) == ANSWERS["a registry that is down"]


async def test_a_certificate_that_nobody_trusts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = own_certificate(tmp_path)
    with running_stub(certificate) as stub:
        async with client_of(stub) as client:
            with pytest.raises(RegistryError) as caught:
                await client.has_blob(SMALL.digest)
        assert told(caught.value, stub) == ANSWERS["a certificate that nobody trusts"]

        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        async with client_of(stub) as client:
            assert await client.push_blob(SMALL, ignored)

    assert stub.blobs == {SMALL.digest: SMALL.content}


async def test_a_registry_that_speaks_no_tls(stub: RegistryStub) -> None:
    stub.scheme = "https"

    async with client_of(stub) as client:
        with pytest.raises(RegistryError) as caught:
            await client.has_blob(SMALL.digest)

    assert told(caught.value, stub) == ANSWERS["https:// to a registry without TLS"]


async def test_a_blob_that_is_pulled_is_checked(stub: RegistryStub, tmp_path: Path) -> None:
    stub.blobs[SMALL.digest] = b"something else"
    stub.blobs[LARGE.digest] = b"0123456789abcdef" * (20 * 65536)

    async with client_of(stub) as client:
        with (tmp_path / "pulled").open("w+b") as out:
            with pytest.raises(RegistryError, match="answered other bytes than sha256:"):
                await client.pull_blob(SMALL.digest, out, max_bytes=2**30)
            with pytest.raises(RegistryError, match="larger than 1 MiB"):
                await client.pull_blob(LARGE.digest, out, max_bytes=2**20)
            assert await client.pull_blob(LARGE.digest, out, max_bytes=2**30) == LARGE.size_bytes
            out.seek(0)
            assert digest_of(out.read()) == LARGE.digest
