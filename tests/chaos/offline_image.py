"""A base image in which pip finds what the Python runtime's image needs, without any network."""

from __future__ import annotations

import io
import tarfile
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

import docker

from tests.support import base_images

_NAME = "fnmesh-test/python-offline:3"
_WHEELS = "/wheels"
PIP = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": _WHEELS}
"""What the mesh's environment has to say, so that pip looks there in its builds."""


def ensure(docker_url: str) -> str:
    """Makes the image at the daemon; returns its name."""
    base = base_images.ensure(base_images.IMAGES["python"], docker_url)
    api = docker.APIClient(base_url=docker_url, version="auto", timeout=60)
    try:
        container = api.create_container(base, command=["true"])["Id"]
        api.put_archive(container, "/", _wheels("httptools"))
        repository, _, tag = _NAME.partition(":")
        api.commit(container, repository=repository, tag=tag)
        api.remove_container(container)
    finally:
        api.close()
    return _NAME


def _wheels(*names: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in names:
            filename, content = _wheel(distribution(name))
            entry = tarfile.TarInfo(f"{_WHEELS.strip('/')}/{filename}")
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def _wheel(installed: Distribution) -> tuple[str, bytes]:
    """The wheel that this installation came from, made of its files again."""
    out, tag = io.BytesIO(), ""
    with zipfile.ZipFile(out, "w") as wheel:
        for file in installed.files or ():
            path = Path(str(file.locate()))
            if path.is_file() and ".." not in file.parts and path.suffix != ".pyc":
                wheel.write(path, str(file))
            if file.name == "WHEEL":
                tags = [line.split()[1] for line in path.read_text().splitlines() if line.startswith("Tag:")]
                tag = tags[0]
    return f"{installed.name}-{installed.version}-{tag}.whl", out.getvalue()
