"""Images of registries by their names, read as whoever the builder's own Docker configuration says it is."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass

from build_svc.oci import reference
from build_svc.oci.client import RegistryClient, connected
from build_svc.oci.credentials import DockerCredentials
from build_svc.oci.errors import NotThere, RegistryError, RegistryTrouble
from build_svc.oci.patience import Patience
from build_svc.oci.reference import ReferenceInvalid, Repository
from mesh.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from runtimes.spin.locked import LockedInvalid

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LATEST = "latest"


@dataclass(frozen=True)
class Opened:
    """A named image: its repository, a client of that, and the tag or digest that is meant."""

    repository: Repository
    registry: RegistryClient
    wanted: str


class Images:
    """Opens images. `insecure` are the registries that the operator lets be spoken to without TLS."""

    def __init__(
        self, credentials: DockerCredentials, *, insecure: Collection[str] = (), patience: Patience | None = None
    ) -> None:
        self._credentials = credentials
        self._insecure = insecure
        self._patience = patience or Patience(answer_s=30, tries=2)  # somebody waits for the answer

    @asynccontextmanager
    async def opened(self, image: str) -> AsyncIterator[Opened]:
        """An image, `registry/repository:tag` or `@digest`.

        Raises InvalidArgument (IMAGE_INVALID), and for what is raised within: NotFound (IMAGE_NOT_FOUND),
        FailedPrecondition (IMAGE_INVALID, REGISTRY_REFUSED), Unavailable (REGISTRY_UNAVAILABLE).
        """
        repository, plain, wanted = self._named(image)
        try:
            mine = await self._credentials.find(repository.registry)
            async with connected(repository, mine, plain=plain, patience=self._patience) as registry:
                yield Opened(repository, registry, wanted)
        except LockedInvalid as error:
            raise FailedPrecondition("IMAGE_INVALID", f"The image {image[:300]} cannot be run here. {error}") from None
        except NotThere:
            raise NotFound("IMAGE_NOT_FOUND", f"There is no image '{image[:300]}'.") from None
        except RegistryTrouble as error:
            raise Unavailable("REGISTRY_UNAVAILABLE", f"{error}; try again in a moment.", retry_after_s=5) from None
        except RegistryError as error:
            raise FailedPrecondition("REGISTRY_REFUSED", str(error)) from None

    def _named(self, image: str) -> tuple[Repository, bool, str]:
        try:
            name, _, digest = image.partition("@")
            repository = reference.parse(name)
            plain = reference.is_plain(repository, self._insecure)
            if digest and not _DIGEST.fullmatch(digest):
                raise ReferenceInvalid(f"'{digest[:100]}' is not a digest: write sha256: and 64 hex digits.")
        except ReferenceInvalid as error:
            raise InvalidArgument("IMAGE_INVALID", str(error), fields={"image": str(error)}) from None
        return repository, plain, digest or repository.tag or _LATEST
