"""Spin components pushed to a real registry, and read back by a client that is not ours."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from build_svc.oci.credentials import Credentials
from build_svc.oci.errors import CredentialsRefused, RegistryError
from runtimes.spin.application import SpinApp
from tests.support.docker_registry import PASSWORD, USER, DockerRegistry, running_registry
from tests.support.spin_pushing import WASM, Pushing

pytestmark = [pytest.mark.registry]

PAGE = b"<html>" + b"x" * 200 + b"</html>"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[DockerRegistry]:
    with running_registry(tmp_path) as running:
        yield running


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[DockerRegistry]:
    with running_registry(tmp_path, user=True) as running:
        yield running


@pytest.mark.skopeo
async def test_what_is_pushed_is_spins_own_artifact(guarded: DockerRegistry, tmp_path: Path) -> None:
    pushing = Pushing(tmp_path, guarded.address)
    artifact = await pushing.artifact(static__page_html=PAGE, static__tiny_txt=b"tiny", static__none=b"")

    tag, digest = await pushing.push(artifact, Credentials(USER, PASSWORD))

    assert len(tag) == 8
    assert digest.startswith(f"sha256:{tag}")
    raw = guarded.skopeo("inspect", "--raw", f"docker://{guarded.address}/faas-app:{tag}").stdout
    assert f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}" == digest
    manifest = json.loads(raw)
    pulled = tmp_path / "pulled"
    guarded.skopeo("copy", f"docker://{guarded.address}/faas-app:{tag}", f"dir:{pulled}")
    blobs = {f"sha256:{path.name}": path.read_bytes() for path in pulled.iterdir() if len(path.name) == 64}
    described = [manifest["config"], *manifest["layers"]]
    assert set(blobs) == {one["digest"] for one in described}
    for one in described:
        content = blobs[one["digest"]]
        assert (one["digest"], one["size"]) == (f"sha256:{hashlib.sha256(content).hexdigest()}", len(content))
    assert manifest["schemaVersion"] == 2
    assert manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    assert [one["mediaType"] for one in manifest["layers"]] == [
        "application/vnd.wasm.content.layer.v1+wasm", "application/vnd.wasm.content.layer.v1+data",
        "application/vnd.fermyon.spin.application.v1+config",
    ]  # fmt: skip
    assert [blobs[one["digest"]] for one in manifest["layers"][:2]] == [WASM, PAGE]
    last = manifest["layers"][-1]["digest"]
    config = json.loads(blobs[manifest["config"]["digest"]])
    assert config == {
        "architecture": "wasm", "os": "Wasip1", "rootfs": {"type": "layers", "diff_ids": []},
        "config": {"Labels": {"com.fermyon.spin.lockedAppDigest": last}},
    }  # fmt: skip
    _check_locked(json.loads(blobs[last]), manifest)


def _check_locked(locked: dict[str, Any], manifest: dict[str, Any]) -> None:
    wasm, page, _ = (one["digest"] for one in manifest["layers"])
    tiny, nothing = (f"sha256:{hashlib.sha256(content).hexdigest()}" for content in (b"tiny", b""))
    assert locked == {
        "spin_lock_version": 0,
        "metadata": {"name": "shop", "version": "0.1.0", "trigger": {"type": "http"}, "triggers": {"http": {}}},
        "variables": {"greeting": {"default": "hello"}},
        "triggers": [{
            "id": "cart-http-trigger", "trigger_type": "http",
            "trigger_config": {"component": "cart", "route": "/cart/..."},
        }],
        "components": [{
            "id": "cart",
            "metadata": {"allowed_outbound_hosts": ["https://api.example.com"], "key_value_stores": ["default"]},
            "source": {"content_type": "application/wasm", "digest": wasm},
            "config": {"greeting": "{{ greeting }}"},
            "files": [
                {"inline": "", "digest": nothing, "path": "static/none"},
                {"digest": page, "path": "static/page_html"},
                {"inline": "dGlueQ==", "digest": tiny, "path": "static/tiny_txt"},
            ],
        }],
    }  # fmt: skip


async def test_nothing_is_pushed_twice(registry: DockerRegistry, tmp_path: Path) -> None:
    pushing = Pushing(tmp_path, registry.address)
    artifact = await pushing.artifact()

    first = await pushing.push(artifact)
    assert pushing.told.lines[0].endswith("pushed")
    assert pushing.told.shares == sorted(pushing.told.shares)
    assert pushing.told.shares[-1] == 1.0
    pushing.told.lines.clear()
    assert await pushing.push(artifact) == first
    assert pushing.told.lines == ["It is there already; nothing to push."]
    pushing.told.lines.clear()
    other = await pushing.push(await pushing.artifact(app=SpinApp("other", "other")))

    assert other != first
    assert pushing.told.lines[0].endswith("is there already")  # the component; its application is another one
    assert sorted(registry.get("faas-app/tags/list").json()["tags"]) == sorted([first[0], other[0]])
    assert (await pushing.push(artifact, tag="v1"))[0] == "v1"


async def test_a_registry_with_users_refuses_others(guarded: DockerRegistry, tmp_path: Path) -> None:
    pushing = Pushing(tmp_path, guarded.address)
    artifact = await pushing.artifact()

    for credentials in (Credentials(USER, "a wrong one"), None):
        with pytest.raises(CredentialsRefused, match=f"^registry refused the credentials for {guarded.address}"):
            await pushing.push(artifact, credentials)


async def test_a_registry_that_went_down_is_pushed_to_when_it_is_back(registry: DockerRegistry, tmp_path: Path) -> None:
    pushing = Pushing(tmp_path, registry.address)
    artifact = await pushing.artifact()
    registry.kill()

    with pytest.raises(RegistryError, match=rf"^The registry {registry.address} cannot be reached \(tried 3 times\)$"):
        await pushing.push(artifact)
    registry.start()

    tag, digest = await pushing.push(artifact)
    assert registry.get(f"faas-app/manifests/{tag}").headers["docker-content-digest"] == digest


async def test_an_artifact_that_is_not_whole_is_not_pushed(registry: DockerRegistry, tmp_path: Path) -> None:
    pushing = Pushing(tmp_path, registry.address)
    gone = await pushing.artifact()
    await pushing.blobs.delete(gone.reference)
    altered = await pushing.artifact(app=SpinApp("x", "x"))
    path = pushing.blobs.path(altered.reference)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes().replace(b"\0asm\x0d", b"\0asm\x0e"))

    for artifact in (gone, altered):
        with pytest.raises(RegistryError, match=r"^The artifact is not whole any more; build it again\.$"):
            await pushing.push(artifact)
