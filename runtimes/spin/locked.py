"""A Spin application as `spin registry push` stores it in an OCI registry: locked application, config and manifest.

The manifest's layers are the component, one for each file that the component sees, and at last the locked
application, which names the others by their digests. Files of at most 128 bytes are in the locked application itself.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtimes.spin.application import Mount, SpinApp, Variable

WASM_LAYER = "application/vnd.wasm.content.layer.v1+wasm"
DATA_LAYER = "application/vnd.wasm.content.layer.v1+data"
APPLICATION_LAYER = "application/vnd.fermyon.spin.application.v1+config"
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LOCKED_DIGEST_LABEL = "com.fermyon.spin.lockedAppDigest"
INLINE_BYTES = 128


@dataclass(frozen=True)
class StaticFile:
    """A file that the component sees at `path`. `inline` is its content where that is at most INLINE_BYTES."""

    path: str
    digest: str
    inline: bytes | None = None


class LockedInvalid(ValueError):
    """What a registry has is no application that can be run here; the text is one sentence."""


@dataclass(frozen=True)
class Descriptor:
    """What a manifest says of a blob; `digest` is `sha256:` and 64 hex digits."""

    media_type: str
    digest: str
    size_bytes: int


def locked_app(app: SpinApp, wasm_digest: str, files: Sequence[StaticFile] = ()) -> bytes:
    """The locked application: the same application gives the same bytes."""
    locked: dict[str, Any] = {
        "spin_lock_version": 0,
        "metadata": {
            **({"description": app.description} if app.description else {}),
            "name": app.name,
            "trigger": {"type": "http"},
            "triggers": {"http": {}},
            "version": app.version,
        },
    }
    if app.variables:
        locked["variables"] = {
            name: {
                **({} if one.default is None else {"default": one.default}),
                **({"secret": True} if one.secret else {}),
            }
            for name, one in sorted(app.variables.items())
        }
    locked["triggers"] = [
        {
            "id": f"{app.component}-http-trigger{f'-{number}' if number else ''}",
            "trigger_type": "http",
            "trigger_config": {"component": app.component, "route": route},
        }
        for number, route in enumerate(app.routes)
    ]
    locked["components"] = [_component(app, wasm_digest, files)]
    return json.dumps(locked, ensure_ascii=False, separators=(",", ":")).encode()


def image_config(locked: bytes) -> bytes:
    """The image's config for a locked application."""
    digest = f"sha256:{hashlib.sha256(locked).hexdigest()}"
    config = {
        "architecture": "wasm",
        "os": "Wasip1",
        "config": {"Labels": {LOCKED_DIGEST_LABEL: digest}},
        "rootfs": {"type": "layers", "diff_ids": []},
    }
    return json.dumps(config, separators=(",", ":")).encode()


def image_manifest(
    config: Descriptor, layers: Sequence[Descriptor], annotations: Mapping[str, str] | None = None
) -> bytes:
    """The image's manifest; the locked application is the last layer."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _descriptor(config),
        "layers": [_descriptor(layer) for layer in layers],
        **({"annotations": dict(annotations)} if annotations else {}),
    }
    return json.dumps(manifest, separators=(",", ":")).encode()


def layers_of(manifest: bytes) -> dict[str, Descriptor]:
    """The layers of a manifest by their digests, in order. Raises LockedInvalid where it is no Spin application's."""
    try:
        found = json.loads(manifest)["layers"]
        layers = {
            one["digest"]: Descriptor(str(one["mediaType"]), str(one["digest"]), int(one["size"])) for one in found
        }
    except (ValueError, KeyError, TypeError):
        layers = {}
    if [one.media_type for one in layers.values()].count(APPLICATION_LAYER) != 1:
        raise LockedInvalid("It is not a Spin application, but an image of another kind.")
    return layers


def read(application: bytes, mounted: str) -> tuple[SpinApp, str, list[StaticFile]]:
    """What `locked_app` wrote, or Spin: the application, its component's digest, and its files, which the application
    mounts from the directory `mounted`. Raises LockedInvalid.
    """
    try:
        locked = json.loads(application)
        (component,) = locked["components"]
        metadata, about = component.get("metadata", {}), locked.get("metadata", {})
        files = [
            StaticFile(
                str(one["path"]).lstrip("/"),
                str(one.get("digest", "")),
                None if one.get("inline") is None else base64.b64decode(one["inline"], validate=True),
            )
            for one in component.get("files", ())
        ]
        app = SpinApp(
            name=str(about["name"]),
            component=str(component["id"]),
            version=str(about.get("version", "0.1.0")),
            description=str(about.get("description", "")),
            routes=tuple(
                str(one["trigger_config"]["route"]) for one in locked["triggers"] if one["trigger_type"] == "http"
            ),
            allowed_outbound_hosts=tuple(map(str, metadata.get("allowed_outbound_hosts", ()))),
            key_value_stores=tuple(map(str, metadata.get("key_value_stores", ()))),
            variables={
                str(name): Variable(one.get("default"), one.get("default") is None, bool(one.get("secret")))
                for name, one in locked.get("variables", {}).items()
            },
            component_variables={str(name): str(value) for name, value in component.get("config", {}).items()},
            environment={str(name): str(value) for name, value in component.get("env", {}).items()},
            files=(Mount(mounted, "/"),) if files else (),
        )
        return app, str(component["source"]["digest"]), files
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LockedInvalid("Its application cannot be read: it needs one component, for HTTP.") from error


def _component(app: SpinApp, wasm_digest: str, files: Sequence[StaticFile]) -> dict[str, Any]:
    metadata: dict[str, Any] = {"allowed_outbound_hosts": list(app.allowed_outbound_hosts)}
    if app.key_value_stores:
        metadata["key_value_stores"] = list(app.key_value_stores)
    component: dict[str, Any] = {
        "id": app.component,
        "metadata": metadata,
        "source": {"content_type": "application/wasm", "digest": wasm_digest},
    }
    if app.environment:
        component["env"] = dict(sorted(app.environment.items()))
    if files:
        component["files"] = [_file(one) for one in sorted(files, key=lambda one: one.path)]
    if app.component_variables:
        component["config"] = dict(sorted(app.component_variables.items()))
    return component


def _file(one: StaticFile) -> dict[str, str]:
    inline = {} if one.inline is None else {"inline": base64.b64encode(one.inline).decode()}
    return {**inline, "digest": one.digest, "path": one.path}


def _descriptor(one: Descriptor) -> dict[str, Any]:
    return {"mediaType": one.media_type, "digest": one.digest, "size": one.size_bytes}
