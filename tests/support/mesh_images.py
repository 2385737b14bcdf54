"""The images of deploy/Dockerfile, made at a Docker daemon without a network: wheels come from a directory.

`ensure` makes what is not there yet; an image that was made of the same files is kept.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import ImageNotFound
from docker.utils.build import exclude_paths

ROOT = Path(__file__).parents[2]
_LOCKS = ("requirements.lock", "requirements-build.lock")
_WHEELS = "deploy/wheels"
_TIMEOUT_S = 300


@dataclass(frozen=True)
class MeshImages:
    """Names of images."""

    services: str
    envoy: str


def ensure(docker_url: str, python_image: str) -> MeshImages:
    """Both images, on that base image. Raises RuntimeError with the end of the build's output."""
    api = docker.APIClient(base_url=docker_url, version="auto", timeout=_TIMEOUT_S)
    try:
        key = _key(api.inspect_image(python_image)["Id"])  # type: ignore[no-untyped-call]
        names = {target: f"fnmesh-test/{target}:{key}" for target in ("services", "envoy")}
        if not all(_is_there(api, name) for name in names.values()):
            context = _context()
            for target, name in names.items():
                build(api, context, name, target=target, python_image=python_image)
        return MeshImages(**names)
    finally:
        api.close()


def build(api: docker.APIClient, context: bytes, name: str, *, target: str, python_image: str) -> None:
    """Makes one target of the Dockerfile. Raises RuntimeError."""
    said: list[str] = []
    for event in api.build(
        fileobj=io.BytesIO(context), custom_context=True, dockerfile="deploy/Dockerfile", target=target, tag=name,
        buildargs={"PYTHON_IMAGE": python_image, "PIP_NO_INDEX": "1"}, rm=True, forcerm=True, decode=True,
    ):  # fmt: skip
        said.append(str(event.get("stream", "")))
        if "error" in event:
            raise RuntimeError("".join(said[-40:]) + str(event["error"]))


def _context() -> bytes:
    """The build's context as a tar: what .dockerignore lets through, the Dockerfile, and the wheels."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        for path in [*_files(), "deploy/Dockerfile"]:
            archive.add(ROOT / path, arcname=path, recursive=False)
        for wheel in sorted(_wheels().glob("*.whl")):
            archive.add(wheel, arcname=f"{_WHEELS}/{wheel.name}")
    return whole.getvalue()


def _wheels() -> Path:
    """The wheels of the locks, kept from one run to the next; each is checked by its hash again in the build."""
    digest = hashlib.sha256(sys.version.encode())
    for lock in _LOCKS:
        digest.update((ROOT / lock).read_bytes())
    place = ROOT / ".cache/wheels" / digest.hexdigest()[:16]
    if not (place / ".whole").exists():
        place.mkdir(parents=True, exist_ok=True)
        locks = [word for lock in _LOCKS for word in ("-r", str(ROOT / lock))]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps"]
        subprocess.run([*command, "--dest", str(place), *locks], check=True)
        (place / ".whole").touch()
    return place


def _files() -> Iterator[str]:
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    for path in sorted(exclude_paths(str(ROOT), patterns)):  # type: ignore[no-untyped-call]
        if (ROOT / path).is_file() and not path.startswith(f"{_WHEELS}/"):
            yield path


def _key(base: str) -> str:
    digest = hashlib.sha256(base.encode())
    for path in [*_files(), "deploy/Dockerfile"]:
        digest.update(path.encode() + b"\0" + (ROOT / path).read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _is_there(api: docker.APIClient, name: str) -> bool:
    try:
        api.inspect_image(name)  # type: ignore[no-untyped-call]
    except ImageNotFound:
        return False
    return True
