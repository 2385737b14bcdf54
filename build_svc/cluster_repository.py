"""The repository that clusters pull from: what is built for them is pushed there, and deleted there again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import replace

from build_svc.docker_push import DockerPush
from build_svc.domain import Artifact, ArtifactKind, BuildFailed
from build_svc.oci import reference
from build_svc.oci.client import RegistryClient, connected
from build_svc.oci.credentials import DockerCredentials
from build_svc.oci.errors import RegistryError, RegistryTrouble
from build_svc.oci.patience import Patience
from build_svc.oci.reference import ReferenceInvalid, Repository
from build_svc.ports import Job, Journal
from build_svc.spin_push import SpinPush
from mesh.errors import FailedPrecondition, Unavailable
from mesh.logs import get_logger

log = get_logger(__name__)
NOT_SET = (
    "Nothing can be built for a cluster here: set FNMESH_BUILD_CLUSTER_REPOSITORY to where the cluster pulls images"
    " from, such as registry.example.org/fnmesh, and start the mesh again."
)


class ClusterRepository:
    """One repository for each function below `where` (empty: none was set). The builder's own Docker configuration says
    who it is there."""

    def __init__(
        self,
        where: str,
        credentials: DockerCredentials,
        spin: SpinPush,
        docker: DockerPush,
        *,
        insecure: Collection[str] = (),
        patience: Patience | None = None,
    ) -> None:
        self.where = where
        self._credentials = credentials
        self._spin = spin
        self._docker = docker
        self._insecure = insecure
        self._patience = patience or Patience()

    def check(self) -> None:
        """Raises FailedPrecondition (CLUSTER_REPOSITORY_NOT_SET)."""
        if not self.where:
            raise FailedPrecondition("CLUSTER_REPOSITORY_NOT_SET", NOT_SET)

    async def push(self, job: Job, made: Artifact, journal: Journal) -> str:
        """Pushes what was made, and says how a cluster calls it. Repeated for the same build it does no harm.

        What it makes there is of this build alone, so that deleting it hits no other. Raises BuildFailed.
        """
        try:
            repository = self._repository(job.build.function_uid)
            await journal.line(f"Pushing to {repository.name}")
            digest = await self._push(job, made, repository, journal)
        except (RegistryError, ReferenceInvalid) as error:
            raise BuildFailed(str(error)) from None
        await journal.line(f"Pushed {repository.name}@{digest}")
        return f"{repository.name}@{digest}"

    async def _push(self, job: Job, made: Artifact, repository: Repository, journal: Journal) -> str:
        tag = job.build.uid
        if made.kind is ArtifactKind.IMAGE:  # its labels name the build
            credentials = await self._credentials.find(repository.registry)
            return await self._docker.push(made.reference, repository, tag, credentials, journal)
        async with self._connected(repository) as registry:
            _, digest = await self._spin.push_from(
                job.scratch, made, registry, tag, journal, annotations={"dev.fnmesh.build": job.build.uid}
            )
            return digest

    async def has(self, image: str) -> bool:
        """Whether an image that was pushed is there still. Raises BuildFailed."""
        name, _, digest = image.partition("@")
        try:
            async with self._connected(reference.parse(name)) as registry:
                return await registry.manifest_digest(digest) is not None
        except (RegistryError, ReferenceInvalid) as error:
            raise BuildFailed(str(error)) from None

    async def delete(self, image: str) -> None:
        """Deletes an image that was pushed, unless its registry lets nobody do that. Raises Unavailable."""
        name, _, digest = image.partition("@")
        try:
            async with self._connected(reference.parse(name)) as registry:
                gone, why = await registry.delete_manifest(digest), "the registry deletes nothing"
        except RegistryTrouble as error:
            raise Unavailable("REGISTRY_UNAVAILABLE", f"{error}; try again in a moment.") from None
        except (RegistryError, ReferenceInvalid) as error:
            gone, why = False, str(error)
        if not gone:
            log.info("cluster_image_left", image=image, why=why)

    def _repository(self, function_uid: str) -> Repository:
        base = reference.parse(self.where)
        return replace(base, path=f"{base.path}/{function_uid}")

    @asynccontextmanager
    async def _connected(self, repository: Repository) -> AsyncIterator[RegistryClient]:
        scheme = reference.parse(self.where).scheme if self.where else ""
        plain = reference.is_plain(replace(repository, scheme=scheme), self._insecure)
        credentials = await self._credentials.find(repository.registry)
        async with connected(repository, credentials, plain=plain, patience=self._patience) as registry:
            yield registry
