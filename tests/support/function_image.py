"""An image of a Python function as the builder makes one, from files only: no package registry is asked."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import docker

from runtimes.catalog import PORT, RUN_UID, install

_DOCKERFILE = f"""
FROM @BASE@
COPY server/ /opt/fnmesh/server/
COPY lib/ /opt/fnmesh/lib/
COPY app/ /app/
USER {RUN_UID}:{RUN_UID}
ENTRYPOINT ["python3", "-I", "/opt/fnmesh/server/serve.py", "--listen", "tcp:0.0.0.0:{PORT}", \\
            "--app", "/app", "--lib", "/opt/fnmesh/lib"]
"""


def build(docker_host: str, base_image: str, files: Mapping[str, str], scratch: Path) -> str:
    """Build it; returns the image's id. `files` are paths below /app."""
    installed = install("python", scratch)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(installed.server, "server")
        assert installed.lib is not None
        tar.add(installed.lib, "lib")
        texts = {f"app/{name}": text for name, text in files.items()}
        for name, text in {**texts, "Dockerfile": _DOCKERFILE.replace("@BASE@", base_image)}.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(text.encode()), 0o644
            tar.addfile(info, io.BytesIO(text.encode()))
    buffer.seek(0)
    client = docker.DockerClient(base_url=docker_host, timeout=120)
    try:
        image, _ = client.images.build(fileobj=buffer, custom_context=True, rm=True, forcerm=True)
        return str(image.id)
    finally:
        client.close()
