"""What build_svc needs of others: the registry, and somebody who turns a source into an artifact."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from build_svc.domain import Artifact, Build, FunctionFacts, Live, Runtime, Spans, Stage, Target


class Registry(Protocol):
    """The registry as builds see it. All raise MeshError."""

    async def resolve(self, name: str) -> FunctionFacts:
        """The function with that resource name, display names allowed."""
        ...

    async def workspace_id(self, workspace: str) -> str:
        """Identifier (`ws-...`) of a workspace that is named by it or by its display name."""
        ...

    async def create_revision(
        self, build: Build, runtime: Runtime | None, default_target: Target
    ) -> tuple[str, FunctionFacts]:
        """Name of the revision that the build makes (the same one however often it is asked), and its function."""
        ...

    async def report(self, build: Build) -> None:
        """Tell how the build ended."""
        ...

    async def live(self) -> Live:
        """What functions and their revisions refer to."""
        ...

    def deleted_functions(self) -> AsyncIterator[str]:
        """Identifiers of functions that are deleted, those known already first; ends with an error."""
        ...


class Journal(Protocol):
    """Where a build tells what happens."""

    def plan(self, spans: Spans) -> None:
        """From now on the stages have these shares of the whole."""
        ...

    def stage(self, stage: Stage) -> AbstractAsyncContextManager[None]:
        """Within it, the build is in that stage."""
        ...

    async def progress(self, done: float) -> None:
        """So much (0 to 1) of the stage is behind."""
        ...

    async def line(self, raw: bytes | str) -> None:
        """A line of output."""
        ...


@dataclass(frozen=True)
class Job:
    """A build in work. `app` is the unpacked source, ours and readable by `uid`; `scratch` is ours and empty but
    for it, and goes when the build ends. `single_file`: the source was a file, not an archive."""

    build: Build
    runtime: Runtime
    entry_file: str
    artifact_digest: str
    app: Path
    scratch: Path
    uid: int | None
    single_file: bool = False


class Builder(Protocol):
    """Makes artifacts for one target."""

    async def environment(self, runtime: Runtime, journal: Journal) -> Mapping[str, str]:
        """What, beside the source and the mesh's own versions, an artifact depends on. Raises BuildFailed."""
        ...

    async def make(self, job: Job, journal: Journal) -> Artifact:
        """Check, install, assemble, push. The reference made is one that nothing ever had. Raises BuildFailed."""
        ...

    async def is_there(self, reference: str) -> bool:
        """Whether what was made under that reference can be used."""
        ...

    async def delete(self, reference: str) -> bool:
        """Delete it; False where it is in use still. Harmless when repeated."""
        ...
