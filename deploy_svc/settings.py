"""Settings of deploy_svc: FNMESH_DEPLOY_*, the common ones, and those of workloads."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, field_validator, model_validator

from deploy_svc.domain import Target
from deploy_svc.kubernetes.placement import SPOT_LABELS, SPOT_TOLERATIONS, parse_spot
from mesh.settings import MeshSettings


class DeploySettings(MeshSettings):
    """Everything that can be set; times in seconds, sizes in bytes."""

    service: ClassVar[str] = "deploy"

    deploy_start_limit_s: float = Field(default=60.0, gt=0)
    """How long an instance may take to become ready."""
    deploy_drain_extra_s: float = Field(default=5.0, ge=0)
    """How much longer than the function's timeout an instance may drain."""
    deploy_watcher_grace_s: float = Field(default=10.0, ge=0)
    """How long a lost watcher of endpoints may still send requests to the instances it knows."""
    deploy_stop_grace_s: float = Field(default=5.0, ge=0)
    """How long a drained instance has to end by itself."""
    deploy_health_interval_s: float = Field(default=5.0, gt=0)
    deploy_health_silent_s: float = Field(default=15.0, gt=0)
    """How long an instance may leave health checks unanswered (at least its timeout and 5 s)."""
    deploy_observe_interval_s: float = Field(default=1.0, gt=0)
    deploy_healthy_reset_s: float = Field(default=30.0, ge=0)
    """How long a revision must be ready until its earlier failures count no more."""
    deploy_backoff_cap_s: float = Field(default=60.0, gt=0)
    deploy_stream_age_s: float = Field(default=3600.0, gt=0)
    deploy_log_lines: int = Field(default=20_000, ge=100)
    """Log lines kept of each function."""
    deploy_log_bytes: int = Field(default=16 << 20, ge=1 << 16)
    deploy_log_days: float = Field(default=7.0, gt=0)
    deploy_scratch_bytes: int = Field(default=1 << 30, ge=1 << 20)
    """How much an instance on the process target may have in HOME and TMPDIR, and a function on the spin target in its
    key-value stores; no file of the former is larger (or than 128 MiB)."""
    deploy_housekeeping_interval_s: float = Field(default=30.0, gt=0)
    deploy_usage_interval_s: float = Field(default=15.0, gt=0)
    """How often CPU and memory of instances are measured."""
    deploy_uid_first: int = Field(default=200_000, ge=1000)
    """First of the user ids that functions run as where the mesh runs as root."""
    deploy_uid_count: int = Field(default=65_536, ge=1)
    deploy_local_targets: str = "process,docker,spin"
    """What functions are put on, besides clusters, and scripts of jobs run on: `process`, `docker`, `spin`, with commas
    between them, or `none`."""
    deploy_docker_host: str = ""
    """Address of the Docker daemon; DOCKER_HOST or the default socket where not set."""
    deploy_script_python_image: str = "python:3.12-slim"
    deploy_script_node_image: str = "node:22-slim"
    """What scripts of jobs run in on the Docker target; not pulled by itself."""
    deploy_kubeconfig: str = ""
    """Kubeconfig of the clusters that functions may be deployed to, each context one; else KUBECONFIG, else the account
    of the pod that deploy_svc runs in. None of them: no cluster."""
    deploy_kubernetes_namespace: str = "default"
    """Namespace of functions that name none."""
    deploy_kubernetes_spot_labels: str = SPOT_LABELS
    """`key=value,...`: labels of nodes that can be taken away at short notice, which use_spot prefers."""
    deploy_kubernetes_spot_tolerations: str = SPOT_TOLERATIONS
    """`key=value:Effect,...`: taints of such nodes, which use_spot puts up with."""
    deploy_kubernetes_progress_s: float = Field(default=180.0, ge=1)
    """How long a rollout may make no progress until it has failed."""
    workload_python: str = ""
    """Python for process workloads; found where not set. Must be of the mesh's own minor version."""
    workload_node: str = ""
    """Node.js for process workloads; `node` on PATH where not set."""
    workload_spin_host: str = ""
    """The program that runs Spin components (a `spin` or `wasmtime`); found where not set."""

    @model_validator(mode="after")
    def _check_spot(self) -> Self:
        parse_spot(self.deploy_kubernetes_spot_labels, self.deploy_kubernetes_spot_tolerations)
        return self

    @field_validator("deploy_local_targets")
    @classmethod
    def _are_local(cls, value: str) -> str:
        """Raises ValueError for what is no target of this machine."""
        _local_targets(value)
        return value

    @property
    def local_targets(self) -> frozenset[Target]:
        """The targets of `deploy_local_targets`."""
        return _local_targets(self.deploy_local_targets)

    @property
    def workloads_dir(self) -> Path:
        """Working copies of artifacts."""
        return self.data_dir / "workloads"


def _local_targets(text: str) -> frozenset[Target]:
    names = {one.strip() for one in text.split(",")} - {"", "none"}
    unknown = sorted(names - {Target.PROCESS, Target.DOCKER, Target.SPIN})
    if unknown:
        raise ValueError(f"'{unknown[0]}' is none of process, docker, spin and none")
    return frozenset(Target(name) for name in names)
