"""The images of deploy/Dockerfile."""

from __future__ import annotations

import pytest

from tests.support import mesh_images
from tests.support.mesh_images import MeshImages
from tests.support.state_dir import file_lock, state_dir


@pytest.fixture(scope="session")
def images(docker_host: str, docker_python_image: str) -> MeshImages:
    """Both of them, at `docker_host`."""
    with file_lock(state_dir() / "mesh-images.lock"):
        return mesh_images.ensure(docker_host, docker_python_image)
