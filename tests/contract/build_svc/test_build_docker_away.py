"""A Docker daemon that is not there: the caller is told, and nothing is left open."""

from __future__ import annotations

import gc

import pytest

from build_svc.docker_daemon import ContainerLimits, DockerDaemon
from mesh.errors import Unavailable

NOWHERE = "unix:///nonexistent/docker.sock"


async def test_nothing_is_left_open() -> None:
    daemon = DockerDaemon(NOWHERE, "mesh", ContainerLimits(2**28, 1.0), threads=1)
    assert await daemon.answers() is False
    with pytest.raises(Unavailable) as refused:
        await daemon.image_id("python:3")
    assert refused.value.reason == "DOCKER_UNAVAILABLE"
    await daemon.close()
    del refused
    gc.collect()  # a socket that is still open fails the test: warnings are errors here
