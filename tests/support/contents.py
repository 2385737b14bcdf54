"""What a mesh has: compared before and after something that must leave nothing behind."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from fnmesh.client import Mesh
from tests.support.running_mesh import RunningMesh


@dataclass(frozen=True)
class Contents:
    """Functions with their etags, revisions and builds; stored blobs; unpacked workloads; build directories;
    processes."""

    functions: frozenset[tuple[str, ...]]
    blobs: frozenset[str]
    workloads: frozenset[str]
    scratch: frozenset[str]
    processes: frozenset[int]

    def adds_nothing_to(self, before: Contents) -> bool:
        """Whether all is as before, except for blobs and working copies that were swept meanwhile."""
        swept = replace(self, blobs=before.blobs, workloads=before.workloads)
        return swept == before and self.blobs <= before.blobs and self.workloads <= before.workloads


def contents(mesh: RunningMesh, client: Mesh) -> Contents:
    """What is there now. Half-written blobs count; so does what is not swept yet."""
    return Contents(
        functions=frozenset(
            (
                function.name,
                function.etag,
                *(revision.name for revision in client.revisions(function.name)),
                *(build.name for build in client.builds(function.name)),
            )
            for function in client.list(workspace="-")
        ),
        blobs=_files(mesh.data_dir / "blobs"),
        workloads=_entries(mesh.data_dir / "workloads"),
        scratch=_entries(mesh.data_dir / "build" / "scratch"),
        processes=frozenset(mesh.processes()),
    )


def _entries(directory: Path) -> frozenset[str]:
    return frozenset(path.name for path in directory.iterdir()) if directory.is_dir() else frozenset()


def _files(directory: Path) -> frozenset[str]:
    return frozenset(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())
