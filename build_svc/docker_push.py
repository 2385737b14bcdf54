"""Pushes an image by the Docker daemon that has it, and tells how far each layer is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import docker
from docker.errors import APIError, ImageNotFound

from build_svc.docker_daemon import DockerDaemon
from build_svc.oci.credentials import Credentials
from build_svc.oci.errors import CredentialsRefused, RegistryError
from build_svc.oci.reference import Repository
from build_svc.ports import Journal

_REFUSED = ("unauthorized", "no basic auth credentials", "authentication required", "incorrect username or password")
_TOLD = ("Pushed", "Layer already exists", "Mounted from")


class DockerPush:
    """Pushes of one daemon's images. Which registries may do without TLS is for the daemon to say."""

    def __init__(self, daemon: DockerDaemon) -> None:
        self._daemon = daemon

    async def push(
        self, image_id: str, repository: Repository, tag: str, credentials: Credentials | None, journal: Journal
    ) -> str:
        """Digest of the manifest that the image has there. Raises RegistryError."""
        name = f"{repository.name}:{tag}"
        auth = _auth(repository, credentials)
        seen = _Progress(repository, given=credentials is not None)

        def events(api: docker.APIClient) -> Iterator[bytes]:
            for event in api.push(repository.name, tag=tag, stream=True, decode=True, auth_config=auth):
                yield json.dumps(event).encode() + b"\n"

        async def tell(line: bytes) -> None:
            if (text := seen.take(json.loads(line))) is not None:
                await journal.line(text)
            await journal.progress(seen.share)

        try:
            await self._daemon.call(lambda api: api.tag(image_id, repository.name, tag))
            try:
                await self._daemon.stream(events, tell)
            finally:  # a second name would keep the image from ever being swept
                await self._daemon.call(lambda api: _untag(api, name))
        except ImageNotFound:
            raise RegistryError("The image is not at the Docker daemon any more; build it again.") from None
        except APIError as error:
            raise seen.failure(str(error.explanation)) from None
        if not seen.digest:
            raise RegistryError(f"The Docker daemon did not say what it pushed to {repository.registry}.")
        return seen.digest


class _Progress:
    """What the daemon has told of a push so far."""

    def __init__(self, repository: Repository, *, given: bool) -> None:
        self._repository = repository
        self._given = given
        self._layers: dict[str, tuple[int, int]] = {}
        self.digest = ""

    @property
    def share(self) -> float:
        """0 to 1, of the layers that are known by now."""
        total = sum(size for _, size in self._layers.values())
        return sum(done for done, _ in self._layers.values()) / total if total else 0.0

    def take(self, event: dict[str, Any]) -> str | None:
        """Note an event; the line to write of it, if any. Raises RegistryError where it tells of a failure."""
        if "error" in event:
            raise self.failure(str(event["error"]))
        if isinstance(event.get("aux"), dict):
            self.digest = str(event["aux"].get("Digest", self.digest))
        layer, status = str(event.get("id", "")), str(event.get("status", ""))
        detail = event.get("progressDetail") or {}
        if layer and detail.get("total"):
            self._layers[layer] = (min(int(detail.get("current", 0)), int(detail["total"])), int(detail["total"]))
        if not layer or not status.startswith(_TOLD):
            return None
        _, total = self._layers.get(layer, (0, 0))
        self._layers[layer] = (total, total)
        return f"{layer}: {status}"

    def failure(self, said: str) -> RegistryError:
        """What the daemon's words mean."""
        registry = self._repository.registry
        if any(word in said.lower() for word in _REFUSED):
            return CredentialsRefused(registry, given=self._given)
        return RegistryError(f"The registry {registry} does not take the image: {' '.join(said.split())[:300]}")


def _auth(repository: Repository, credentials: Credentials | None) -> dict[str, str]:
    if credentials is None:
        return {}
    if not credentials.username:
        return {"identitytoken": credentials.password, "serveraddress": repository.registry}
    return {
        "username": credentials.username,
        "password": credentials.password,
        "serveraddress": repository.registry,
    }


def _untag(api: docker.APIClient, name: str) -> None:
    try:
        api.remove_image(name, noprune=True)
    except ImageNotFound:
        return
