"""What a container of an instance is made with."""

from __future__ import annotations

import hashlib
from typing import Any

import docker
import docker.errors
import docker.types

from deploy_svc.domain import Limits
from deploy_svc.launch import launch_of
from deploy_svc.ports import InstanceSpec
from runtimes.catalog import PORT, RUN_UID, arguments

__all__ = ["INSTANCE_LABEL", "MESH_LABEL", "PORT", "container_name", "create_container", "network_name"]

MESH_LABEL = "fnmesh.mesh"
INSTANCE_LABEL = "fnmesh.instance"
_MIN_MEMORY_BYTES = 6 << 20  # Docker's own
_LOG_OPTIONS = {"max-size": "10m", "max-file": "2"}
_PIDS = 256


def container_name(instance: str) -> str:
    """The name of an instance's container."""
    return f"fnmesh-{instance}"


def network_name(mesh_id: str) -> str:
    """The name of the mesh's network."""
    return f"fnmesh-{hashlib.sha256(mesh_id.encode()).hexdigest()[:12]}"


def create_container(api: docker.APIClient, spec: InstanceSpec, mesh_id: str, cpus: int) -> None:
    """Create it unless it is there: nothing of it is shared with the host but a port on loopback."""
    workload = spec.workload
    name = container_name(spec.uid)
    try:
        api.create_container(
            workload.artifact.reference,
            command=arguments(launch_of(workload)),
            name=name,
            user=f"{RUN_UID}:{RUN_UID}",
            environment={"TMPDIR": "/tmp", "HOME": "/tmp", **workload.env},  # noqa: S108 -- the container's own
            labels={
                MESH_LABEL: mesh_id,
                INSTANCE_LABEL: spec.uid,
                "fnmesh.function": workload.function_uid,
                "fnmesh.revision": str(workload.revision),
                "fnmesh.artifact": workload.artifact.digest,
            },
            ports=[PORT],
            host_config=api.create_host_config(**_host_config(workload.limits, mesh_id, cpus)),
        )
    except docker.errors.APIError as error:
        if error.status_code != 409:
            raise


def _host_config(limits: Limits, mesh_id: str, cpus: int) -> dict[str, Any]:
    memory = max(limits.memory_bytes, _MIN_MEMORY_BYTES)
    return {
        "network_mode": network_name(mesh_id),
        "port_bindings": {PORT: ("127.0.0.1", None)},
        "mem_limit": memory,
        "memswap_limit": memory,
        "nano_cpus": min(limits.cpu_millis * 1_000_000, cpus * 1_000_000_000),
        "pids_limit": _PIDS + limits.concurrency,
        "read_only": True,
        "tmpfs": {"/tmp": f"rw,nosuid,nodev,size={memory // 2},mode=1777"},  # noqa: S108
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "init": True,
        "restart_policy": {"Name": "no"},  # deploy_svc restarts, with a new container
        "log_config": docker.types.LogConfig(type="json-file", config=_LOG_OPTIONS),
    }
