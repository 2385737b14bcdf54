"""Base images without an image registry: this machine's own Python and Node trees, imported into Docker.

    python -m tests.support.base_images        # makes both at DOCKER_HOST, prints their names

Each image is small but whole: the interpreter with its package installer, the shared libraries both need, a
shell with the usual file commands, the machine's CA bundle (with the environment that makes pip and npm use
it), an unprivileged user `app` (1000). An image that its label says to be made from the same things is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import ImageNotFound

from tests.support import node_tree, python_tree
from tests.support.rootfs import CA_BUNDLE, Rootfs

PYTHON_IMAGE = "fnmesh-test/python:3"
NODE_IMAGE = "fnmesh-test/node:20"
_KEY_LABEL = "fnmesh-test.made-from"
_IMPORT_TIMEOUT_S = 300
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "SSL_CERT_FILE": CA_BUNDLE,
    "REQUESTS_CA_BUNDLE": CA_BUNDLE,
    "PIP_CERT": CA_BUNDLE,
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_ROOT_USER_ACTION": "ignore",
    "NODE_EXTRA_CA_CERTS": CA_BUNDLE,
}


@dataclass(frozen=True)
class BaseImage:
    """One image to make: `describe` says from what (any change of it makes a new image), `fill` copies it."""

    name: str
    command: str
    describe: Callable[[], list[str]]
    fill: Callable[[Rootfs], None]


IMAGES = {
    "python": BaseImage(PYTHON_IMAGE, "python3", python_tree.describe, python_tree.copy_to),
    "node": BaseImage(NODE_IMAGE, "node", node_tree.describe, node_tree.copy_to),
}


def ensure(image: BaseImage, docker_url: str) -> str:
    """Make `image` at the daemon unless the same one is there already; returns its name."""
    api = docker.APIClient(base_url=docker_url, version="auto", timeout=_IMPORT_TIMEOUT_S)
    try:
        key = _content_key(image)
        if _key_of(api, image.name) != key:
            _import(api, image, key)
    finally:
        api.close()
    return image.name


def _import(api: docker.APIClient, image: BaseImage, key: str) -> None:
    with tempfile.TemporaryDirectory(prefix="fnmesh-base-") as scratch:
        rootfs = Rootfs(Path(scratch) / "rootfs")
        rootfs.lay_out()
        image.fill(rootfs)
        rootfs.copy_needed_libraries()
        archive = Path(scratch) / "rootfs.tar"
        _pack(rootfs.path, archive)
        repository, _, tag = image.name.partition(":")
        answer = api.import_image(src=str(archive), repository=repository, tag=tag, changes=_config(image, key))
    for line in answer.splitlines():
        if "error" in json.loads(line):
            raise RuntimeError(f"docker import of {image.name}: {json.loads(line)['error']}")


def _config(image: BaseImage, key: str) -> list[str]:
    environment = [f"ENV {name}={value}" for name, value in _ENVIRONMENT.items()]
    return [*environment, f"LABEL {_KEY_LABEL}={key}", f'CMD ["{image.command}"]']


def _pack(rootfs: Path, archive: Path) -> None:
    def owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 1000 if entry.name.startswith("home/app") else 0
        entry.uname = entry.gname = ""
        return entry

    with tarfile.open(archive, "w") as tar:
        for child in sorted(rootfs.iterdir()):
            tar.add(child, arcname=child.name, filter=owned_by_root)


def _key_of(api: docker.APIClient, name: str) -> str | None:
    try:
        labels = api.inspect_image(name)["Config"]["Labels"] or {}  # type: ignore[no-untyped-call]
    except ImageNotFound:
        return None
    key = labels.get(_KEY_LABEL)
    return None if key is None else str(key)


def _content_key(image: BaseImage) -> str:
    digest = hashlib.sha256()
    for recipe in sorted(Path(__file__).parent.glob("*.py")):
        if recipe.name in ("base_images.py", "rootfs.py", "python_tree.py", "node_tree.py"):
            digest.update(recipe.read_bytes())
    digest.update(Path(CA_BUNDLE).read_bytes() if Path(CA_BUNDLE).exists() else b"")
    digest.update(json.dumps(image.describe()).encode())
    return digest.hexdigest()[:32]


def main() -> int:
    url = os.environ.get("DOCKER_HOST")
    if not url:
        print(
            "set DOCKER_HOST, for example to what `python -m tests.support.docker_daemon start` prints",
            file=sys.stderr,
        )
        return 2
    for kind, image in IMAGES.items():
        if kind == "node" and shutil.which("node") is None:
            print("node is not installed: no Node base image", file=sys.stderr)
            continue
        print(ensure(image, url))
    return 0


if __name__ == "__main__":
    sys.exit(main())
