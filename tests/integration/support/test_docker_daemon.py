"""The tests' own Docker daemon and its base images do what the other tests expect of them."""

from __future__ import annotations

import io
from collections.abc import Iterator

import docker
import pytest

from tests.support import base_images


@pytest.fixture
def api(docker_host: str) -> Iterator[docker.APIClient]:
    client = docker.APIClient(base_url=docker_host, version="auto", timeout=120)
    yield client
    client.close()


def _build(api: docker.APIClient, *lines: str) -> list[str]:
    """The output of a build of these Dockerfile lines; raises AssertionError with it if a step fails."""
    events = list(
        api.build(fileobj=io.BytesIO("\n".join(lines).encode()), decode=True, rm=True, forcerm=True, nocache=True)
    )
    output = [event["stream"] for event in events if "stream" in event]
    assert not any("error" in event for event in events), "".join(output)
    image = next(event["aux"]["ID"] for event in events if "aux" in event)
    api.remove_image(image, force=True)
    return output


def test_a_build_can_install_python_packages(api: docker.APIClient, docker_python_image: str) -> None:
    output = _build(
        api,
        f"FROM {docker_python_image}",
        "RUN pip install httptools==0.9.0",
        "RUN python -c 'import httptools, ssl, sqlite3, ctypes; print(httptools.__version__)'",
    )
    assert "0.9.0\n" in output


def test_a_build_can_install_node_packages(api: docker.APIClient, docker_node_image: str) -> None:
    output = _build(
        api,
        f"FROM {docker_node_image}",
        "WORKDIR /app",
        "RUN npm install left-pad",
        """RUN node -e 'console.log(require("left-pad")(1, 3))'""",
    )
    assert "  1\n" in output


def test_an_image_made_of_the_same_things_is_kept(
    api: docker.APIClient, docker_host: str, docker_python_image: str
) -> None:
    before = api.inspect_image(docker_python_image)["Id"]
    base_images.ensure(base_images.IMAGES["python"], docker_host)
    assert api.inspect_image(docker_python_image)["Id"] == before
