"""Settings of build_svc: FNMESH_BUILD_*, and the common ones."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from mesh.settings import MeshSettings


class BuildSettings(MeshSettings):
    """What this process may use, and for how long."""

    service: ClassVar[str] = "build"

    build_parallelism: int = Field(default=2, ge=1, le=64)
    build_timeout_s: float = Field(default=600, gt=0)
    build_source_max_bytes: int = Field(default=200 * 2**20, gt=0)
    build_unpacked_max_bytes: int = Field(default=2**30, gt=0)
    build_entries_max: int = Field(default=20_000, gt=0)
    build_artifact_max_bytes: int = Field(default=4 * 2**30, gt=0)
    build_work_dir: Path | None = None
    """Where builds run and libraries are cached; `<data>/build` where any user may pass through that, else a
    directory of ours below the system's temporary one."""
    build_uid_base: int = Field(default=190_000, gt=0)
    """As root, builds run as users of the 9,000 from this one on; they need no entry in passwd."""
    build_docker_host: str = ""
    """Address of the Docker daemon; DOCKER_HOST or the default socket where not set."""
    build_python_image: str = "python:3.12-slim"
    build_node_image: str = "node:22-slim"
    build_docker_memory_bytes: int = Field(default=2 * 2**30, ge=64 * 2**20)
    build_docker_cpus: float = Field(default=2, gt=0)
    build_gc_interval_s: float = Field(default=600, gt=0)
    build_gc_grace_s: float = Field(default=3600, ge=0)
    build_cache_unused_s: float = Field(default=7 * 86400, ge=3600)
    build_lease_s: float = Field(default=10, gt=0)
    build_watch_max_age_s: float = Field(default=3600, gt=0)
    workload_python: str = ""
    workload_node: str = ""
    """The interpreters of process workloads and their builds; found out where not set."""
