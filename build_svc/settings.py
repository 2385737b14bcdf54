"""Settings of build_svc: FNMESH_BUILD_*, and the common ones."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field, field_validator

from build_svc.oci import reference
from mesh.settings import MeshSettings

VERSION = r"^\d[0-9A-Za-z.+-]*$"


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
    build_process_target: bool = True
    """Whether functions are built for the target process. What their libraries run to be installed is run here then; by
    the mesh's own user, unless that is root."""
    build_docker_host: str = ""
    """Address of the Docker daemon; DOCKER_HOST or the default socket where not set."""
    build_python_image: str = "python:3.12-slim"
    build_node_image: str = "node:22-slim"
    build_docker_memory_bytes: int = Field(default=2 * 2**30, ge=64 * 2**20)
    build_docker_cpus: float = Field(default=2, gt=0)
    build_gc_interval_s: float = Field(default=600, gt=0)
    build_gc_grace_s: float = Field(default=3600, ge=0)
    build_cache_unused_s: float = Field(default=7 * 86400, ge=3600)
    build_kept: int = Field(default=50, ge=1)
    """How many ended builds of each function keep their lines; older ones are forgotten, those that revisions came from
    but for their lines."""
    build_insecure_registries: str = ""
    """Registries (`host` or `host:port`, comma-separated) that are spoken to without TLS, besides those of this
    machine."""
    build_cluster_repository: str = Field(default="", max_length=200)
    """Where clusters pull from what is built for them, such as `registry.example.org/fnmesh`: each function has a
    repository of its own below it."""
    build_secrets_key_file: Path = Field(default_factory=lambda data: data["data_dir"] / "secrets.key")
    """The key that passwords of registries are encrypted with while they are needed; made where it is not there."""
    build_lease_s: float = Field(default=10, gt=0)
    build_watch_max_age_s: float = Field(default=3600, gt=0)
    build_spin_sdk_version: str = Field(default="3.4.1", pattern=VERSION)
    build_spin_componentize_version: str = Field(default="0.17.2", pattern=VERSION)
    build_spin_mypy_version: str = Field(default="2.4.1", pattern=VERSION)
    build_spin_python_version: str = Field(default="3.12", pattern=r"^3\.\d+$")
    """The Python that componentize-py of that version puts into components."""
    build_spin_timeout_s: float = Field(default=60, gt=0)
    """CPU time that making a component of Python code may take; the code's top level is run in it. By the clock it may
    take four times as long."""
    build_spin_memory_bytes: int = Field(default=2 * 2**30, ge=512 * 2**20)
    """What a process that makes or compiles a component may use."""
    workload_spin_host: str = ""
    """The host program of Spin components; found out where not set."""
    workload_python: str = ""
    workload_node: str = ""
    """The interpreters of process workloads and their builds; found out where not set."""

    @field_validator("build_cluster_repository")
    @classmethod
    def _repository(cls, value: str) -> str:
        """Raises ValueError where no repository is called that."""
        if value and reference.parse(value).tag:
            raise ValueError("it must name no tag")
        return value

    @property
    def insecure_registries(self) -> frozenset[str]:
        """The registries of `build_insecure_registries`."""
        return frozenset(one.strip() for one in self.build_insecure_registries.split(",") if one.strip())
