"""Images that clusters run as they are, whoever made them."""

from __future__ import annotations

from dataclasses import dataclass

from build_svc.domain import Build, Runtime
from build_svc.images import Images
from build_svc.oci.client import ANY_MANIFEST
from build_svc.store import BuildStore
from mesh.errors import FailedPrecondition, InvalidArgument
from runtimes.spin import locked

_REFERENCE_CHARACTERS = 400


@dataclass(frozen=True)
class GivenImage:
    """An image by its digest, `registry/repository@sha256:...`, what runs it, and its handler (empty: the default)."""

    reference: str
    runtime: Runtime
    handler: str = ""


class GivenImages:
    """Looks images up at their registries, and at what this mesh has pushed itself."""

    def __init__(self, images: Images, store: BuildStore) -> None:
        self._images = images
        self._store = store

    async def find(self, image: str, *, workspace: str) -> GivenImage:
        """The image that has that name now: a Spin application, or what a build of `workspace` (empty: any) pushed,
        which is known without its registry, too.

        Raises InvalidArgument (IMAGE_INVALID), NotFound (IMAGE_NOT_FOUND), FailedPrecondition (IMAGE_INVALID,
        REGISTRY_REFUSED), Unavailable (REGISTRY_UNAVAILABLE).
        """
        try:
            async with self._images.opened(image) as opened:
                described, digest = await opened.registry.pull_manifest(opened.wanted, accept=ANY_MANIFEST)
                found = _by_digest(opened.repository.name, digest)
                pushed = await self._pushed(found, workspace)
                if pushed is None:
                    locked.layers_of(described)
                    return GivenImage(found, Runtime.SPIN)
        except FailedPrecondition as refused:
            pushed = await self._pushed(image, workspace)
            if refused.reason != "REGISTRY_REFUSED" or pushed is None or pushed.push is None:
                raise
            found = _by_digest(pushed.push.image.rpartition(":")[0], pushed.push.digest)
        return GivenImage(found, Runtime(pushed.runtime), pushed.handler)

    async def entry_file(self, reference: str) -> str:
        """The entry file of an image that a build pushed; empty for others."""
        pushed = await self._pushed(reference, "")
        return pushed.artifact.entry_file if pushed is not None and pushed.artifact is not None else ""

    async def _pushed(self, image: str, workspace: str) -> Build | None:
        """The newest build that was pushed as that."""
        within = f"workspaces/{workspace}" if workspace else ""
        found = await self._store.list(function_uid="", workspace=within, limit=1, before=None, pushed_as=image)
        return found[0] if found else None


def _by_digest(name: str, digest: str) -> str:
    found = f"{name}@{digest}"
    if len(found) > _REFERENCE_CHARACTERS:
        message = f"The name of the image is too long: with its digest, {_REFERENCE_CHARACTERS} characters are allowed."
        raise InvalidArgument("IMAGE_INVALID", message, fields={"image": message})
    return found
