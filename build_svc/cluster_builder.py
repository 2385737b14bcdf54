"""Artifacts for clusters: what Docker or Spin would run here, pushed to where the cluster pulls it from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from build_svc.cluster_repository import NOT_SET, ClusterRepository
from build_svc.domain import Artifact, ArtifactKind, BuildFailed, Runtime, Stage, artifact_digest
from build_svc.ports import Builder, Job, Journal
from build_svc.shelf import Shelf


class ClusterBuilder:
    """Builds with the builders for this machine."""

    def __init__(self, docker: Builder, spin: Builder, shelf: Shelf, repository: ClusterRepository) -> None:
        self._docker = docker
        self._spin = spin
        self._shelf = shelf
        self._repository = repository

    async def environment(self, runtime: Runtime, journal: Journal) -> Mapping[str, str]:
        if not self._repository.where:
            raise BuildFailed(NOT_SET)
        local = await self._local(runtime).environment(runtime, journal)
        return {**local, "repository": self._repository.where}

    async def make(self, job: Job, journal: Journal) -> Artifact:
        made = await self._made(job, journal)
        async with journal.stage(Stage.PUSH):
            reference = await self._repository.push(job, made, journal)
        return Artifact(job.artifact_digest, ArtifactKind.CLUSTER_IMAGE, reference, made.size_bytes, made.entry_file)

    async def is_there(self, reference: str) -> bool:
        return await self._repository.has(reference)

    async def delete(self, reference: str) -> bool:
        await self._repository.delete(reference)
        return True

    async def _made(self, job: Job, journal: Journal) -> Artifact:
        """What is pushed: of this build alone, so that nobody deletes it meanwhile, and swept when it is of no use."""
        local = self._local(job.runtime)
        key = artifact_digest({"pushed as": job.artifact_digest, "build": job.build.uid})
        found = await self._shelf.use_artifact(key)
        if found is not None and await local.is_there(found.reference):
            await journal.line("It was built before the builder was stopped; only the push is left to do.")
            return found
        if found is not None:
            await self._shelf.lost(found)
        return await self._shelf.keep_artifact(await local.make(replace(job, artifact_digest=key), journal))

    def _local(self, runtime: Runtime) -> Builder:
        return self._spin if runtime is Runtime.SPIN else self._docker
