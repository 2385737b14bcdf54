"""Spin applications of a registry as sources, whoever pushed them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from build_svc.oci import reference
from build_svc.oci.client import Blob, connected
from build_svc.oci.credentials import Credentials
from fnmesh.build.v1 import build_service_pb2 as pb
from mesh.errors import FailedPrecondition, InvalidArgument, NotFound
from runtimes.spin import manifest
from runtimes.spin.application import Mount
from tests.contract.build_svc.build_world import HELLO, NO_DOCKER, Client, World
from tests.support.docker_registry import PASSWORD, USER, DockerRegistry, running_registry
from tests.support.errors_page import answers
from tests.support.spin_pushing import APP, HASTY, WASM, Pushing

pytestmark = [pytest.mark.registry]

PAGE = b"<html>" + b"x" * 200 + b"</html>"
ME = Credentials(USER, PASSWORD)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    with running_registry(tmp_path_factory.mktemp("registry"), user=True) as running:
        yield running


@pytest.fixture
async def known(
    data_dir: Path, tmp_run_dir: Path, tmp_path: Path, registry: DockerRegistry
) -> AsyncIterator[tuple[World, Client]]:
    """A build_svc whose Docker configuration knows the registry."""
    world = World(data_dir, tmp_run_dir, {}, NO_DOCKER)
    registry.log_in(tmp_path)
    world.surroundings["DOCKER_CONFIG"] = str(tmp_path)
    async with world.registry_running(), world.build_svc() as client:
        yield world, client


async def imported(client: Client, image: str) -> str:
    answer = await client.stub.ImportSource(pb.ImportSourceRequest(image=image))
    return str(answer.source_digest)


async def test_an_image_becomes_a_source_of_the_same_application(
    known: tuple[World, Client], registry: DockerRegistry, tmp_path: Path
) -> None:
    world, client = known
    pushing = Pushing(tmp_path, registry.address)
    files = {"static__page_html": PAGE, "static__tiny_txt": b"tiny", "none": b""}
    tag, digest = await pushing.push(await pushing.artifact(**files), ME)

    found = await imported(client, f"{registry.address}/faas-app:{tag}")

    assert await imported(client, f"{registry.address}/faas-app@{digest}") == found
    world.registry.functions["hello"].source_digest = found
    parts = [one async for one in client.stub.GetSource(pb.GetSourceRequest(function=HELLO))]
    with zipfile.ZipFile(io.BytesIO(b"".join(part.chunk for part in parts))) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    described = manifest.parse(content.pop("spin.toml"))
    assert described == replace(APP, files=(Mount("files", "/"),))
    assert content == {
        "app.wasm": WASM, "files/static/page_html": PAGE, "files/static/tiny_txt": b"tiny", "files/none": b"",
    }  # fmt: skip


async def _ignored(sent: int) -> None:
    """Progress that nobody wants to know of."""


async def test_what_cannot_be_fetched_is_told(known: tuple[World, Client], registry: DockerRegistry) -> None:
    _, client = known
    for wrong in ("", "a b/c", "http://ghcr.io/app:1", "ghcr.io/app@sha256:12", "https://me:pw@ghcr.io/app"):
        with pytest.raises(InvalidArgument) as refused:
            await imported(client, wrong)
        assert refused.value.reason == "IMAGE_INVALID"
    with pytest.raises(NotFound) as missing:
        await imported(client, f"{registry.address}/never/seen:1")
    assert missing.value.reason == "IMAGE_NOT_FOUND"
    repository = reference.parse(f"{registry.address}/other")
    empty = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "schemaVersion": 2, "layers": []}
    async with connected(repository, ME, plain=True, patience=HASTY) as direct:
        config = Blob.of("application/vnd.oci.image.config.v1+json", b"{}")
        await direct.push_blob(config, _ignored)
        described = {"mediaType": config.media_type, "digest": config.digest, "size": config.size_bytes}
        await direct.push_manifest(json.dumps(empty | {"config": described}).encode(), "latest")
    with pytest.raises(FailedPrecondition) as other:
        await imported(client, f"{registry.address}/other")
    row = answers("Pushing to a registry")["a deploy of an image that is no Spin application"]
    told = other.value.message.replace(registry.address, "<registry>")
    assert (other.value.reason, told) == ("IMAGE_INVALID", row)


async def test_a_registry_that_does_not_know_the_builder(
    known: tuple[World, Client], registry: DockerRegistry, tmp_path: Path
) -> None:
    _, client = known
    (tmp_path / "config.json").unlink()

    with pytest.raises(
        FailedPrecondition, match=f"^registry refused the credentials for {registry.address}: "
    ) as caught:
        await imported(client, f"{registry.address}/faas-app:1")

    assert caught.value.reason == "REGISTRY_REFUSED"
