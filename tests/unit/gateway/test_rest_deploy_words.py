"""Names and amounts in deploys of older clients."""

from __future__ import annotations

import re

import pytest

from gateway.rest import quantities
from gateway.rest.app_names import made_up
from gateway.rest.task_views import Places


def test_made_up_names_have_their_form() -> None:
    names = {made_up() for _ in range(50)}

    assert len(names) > 40
    assert all(re.fullmatch(r"spin-[a-z]+-[a-z]+-[0-9]{4}", name) for name in names)


@pytest.mark.parametrize(("text", "millis"), [("500m", 500), ("1", 1000), ("0.25", 250), ("256", 256_000)])
def test_cpu(text: str, millis: int) -> None:
    assert quantities.cpu_millis(text) == millis


@pytest.mark.parametrize(
    ("text", "size"), [("128Mi", 128 << 20), ("1Gi", 1 << 30), ("64M", 64_000_000), ("0.5Gi", 1 << 29)]
)
def test_memory(text: str, size: int) -> None:
    assert quantities.memory_bytes(text) == size


@pytest.mark.parametrize("text", ["", "1m", "300", "-1", "1Mi", "m", "1e3", "0"])
def test_what_is_no_cpu_limit(text: str) -> None:
    with pytest.raises(ValueError, match="CPU limit"):
        quantities.cpu_millis(text)


@pytest.mark.parametrize("text", ["", "1Mi", "65Gi", "128MB", "1m", "Gi"])
def test_what_is_no_memory_limit(text: str) -> None:
    with pytest.raises(ValueError, match="memory limit"):
        quantities.memory_bytes(text)


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("s3://bucket", "s3://bucket/build-sources/my-workspace/1/"),
        ("s3://bucket/prefix/", "s3://bucket/prefix/build-sources/my-workspace/1/"),
        ("/var/lib/fnmesh/blobs", "file:///var/lib/fnmesh/blobs/build-sources/my-workspace/1/"),
        ("file:///blobs", "file:///blobs/build-sources/my-workspace/1/"),
    ],
)
def test_names_of_what_is_in_the_blob_store(url: str, source: str) -> None:
    assert Places(url).source("my-workspace", "1") == source
    assert Places(url).wasm("1").endswith("/build-artifacts/1/app.wasm")
