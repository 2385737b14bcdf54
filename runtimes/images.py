"""Dockerfiles of functions, rendered from the templates in `docker/`.

Two images: the runtime's (base image and server, made once for each pair of them) and, from it, the
function's. Both are built with a context of one directory: `server/` for the first, `app/` (the source) for
the second. The server's fixed words are the ENTRYPOINT; a container is started with `arguments(launch)` as
its command.
"""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

from runtimes.entrypoints import Runtime

_TEMPLATES = Path(__file__).parent / "docker"

PORT = 8080
"""Where every function's container listens."""

RUN_UID = 65532
"""The uid that runs the function. It owns no file of the image."""

BUILD_UID = 1000
"""The uid that the authors' scripts run as while the image is built."""


def runtime_base_dockerfile(runtime: Runtime, base_image: str) -> str:
    """The image with the server in it. Context: `server/`, a copy of `runtime_files(runtime)`."""
    return _render(f"{runtime}-base", base_image, keep=True)


def dockerfile(runtime: Runtime, base_image: str, has_requirements: bool) -> str:
    """The function's image, from the runtime's image `base_image`. Context: `app/`, the source.

    Its files must be readable by all: they belong to BUILD_UID, and RUN_UID runs them. With `has_requirements`,
    app/requirements.txt or app/package.json is installed in a layer of its own, before the code, so that a change
    of the code alone does not install again.
    """
    return _render(runtime, base_image, keep=has_requirements)


def _render(name: str, base_image: str, *, keep: bool) -> str:
    text = (_TEMPLATES / f"{name}.Dockerfile").read_text()
    section = re.compile(r"^# \{requirements\n(.*?)^# requirements\}\n", re.MULTILINE | re.DOTALL)
    text = section.sub(r"\1" if keep else "", text)
    values = {
        "BASE_IMAGE": base_image,
        "HTTPTOOLS_VERSION": version("httptools"),
        "PORT": str(PORT),
        "RUN_UID": str(RUN_UID),
        "BUILD_UID": str(BUILD_UID),
    }
    return re.sub(r"@(\w+)@", lambda match: values[match[1]], text)
