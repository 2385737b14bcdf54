"""What of a Spin application is stored in a registry, field by field."""

from __future__ import annotations

import hashlib
import json

from runtimes.spin import locked
from runtimes.spin.application import SpinApp, Variable
from runtimes.spin.locked import Descriptor, StaticFile

WASM = "sha256:" + "ab" * 32


def test_the_smallest_application() -> None:
    assert json.loads(locked.locked_app(SpinApp("hello", "hello"), WASM)) == {
        "spin_lock_version": 0,
        "metadata": {"name": "hello", "version": "0.1.0", "trigger": {"type": "http"}, "triggers": {"http": {}}},
        "triggers": [
            {
                "id": "hello-http-trigger",
                "trigger_type": "http",
                "trigger_config": {"component": "hello", "route": "/..."},
            }
        ],
        "components": [
            {
                "id": "hello",
                "metadata": {"allowed_outbound_hosts": []},
                "source": {"content_type": "application/wasm", "digest": WASM},
            }
        ],
    }


def test_everything_that_an_application_may_have() -> None:
    app = SpinApp(
        "shop", "cart", version="1.2.3", description="A shop", routes=("/a", "/b/..."),
        allowed_outbound_hosts=("https://api.example.com",), key_value_stores=("default",),
        variables={"token": Variable(required=True, secret=True), "host": Variable("x")},
        component_variables={"url": "https://{{ host }}/"}, environment={"B": "2", "A": "1"},
    )  # fmt: skip
    files = [StaticFile("b.txt", "sha256:bb"), StaticFile("a.txt", "sha256:aa", b"tiny")]

    found = json.loads(locked.locked_app(app, WASM, files))

    assert found["variables"] == {"host": {"default": "x"}, "token": {"secret": True}}
    assert found["metadata"]["description"] == "A shop"
    assert [one["id"] for one in found["triggers"]] == ["cart-http-trigger", "cart-http-trigger-1"]
    assert [one["trigger_config"]["route"] for one in found["triggers"]] == ["/a", "/b/..."]
    (component,) = found["components"]
    assert component["metadata"] == {
        "allowed_outbound_hosts": ["https://api.example.com"], "key_value_stores": ["default"],
    }  # fmt: skip
    assert component["env"] == {"A": "1", "B": "2"}
    assert component["config"] == {"url": "https://{{ host }}/"}
    assert component["files"] == [
        {"inline": "dGlueQ==", "digest": "sha256:aa", "path": "a.txt"}, {"digest": "sha256:bb", "path": "b.txt"},
    ]  # fmt: skip


def test_config_and_manifest() -> None:
    application = locked.locked_app(SpinApp("hello", "hello"), WASM)

    config = json.loads(locked.image_config(application))
    manifest = json.loads(
        locked.image_manifest(
            Descriptor(locked.CONFIG, "sha256:cc", 3),
            [Descriptor(locked.WASM_LAYER, WASM, 7), Descriptor(locked.APPLICATION_LAYER, "sha256:dd", 9)],
        )
    )

    assert config == {
        "architecture": "wasm", "os": "Wasip1", "rootfs": {"type": "layers", "diff_ids": []},
        "config": {"Labels": {
            "com.fermyon.spin.lockedAppDigest": f"sha256:{hashlib.sha256(application).hexdigest()}",
        }},
    }  # fmt: skip
    assert manifest == {
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "sha256:cc", "size": 3},
        "layers": [
            {"mediaType": "application/vnd.wasm.content.layer.v1+wasm", "digest": WASM, "size": 7},
            {"mediaType": "application/vnd.fermyon.spin.application.v1+config", "digest": "sha256:dd", "size": 9},
        ],
    }  # fmt: skip


def test_the_same_application_gives_the_same_bytes() -> None:
    one = SpinApp("hello", "hello", environment={"A": "1", "B": "2"})
    other = SpinApp("hello", "hello", environment={"B": "2", "A": "1"})
    files = [StaticFile("a", "sha256:aa"), StaticFile("b", "sha256:bb")]

    assert locked.locked_app(one, WASM, files) == locked.locked_app(other, WASM, files[::-1])
