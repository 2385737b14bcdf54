"""Settings of invoke_svc: FNMESH_INVOKE_* and those that all services share."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from mesh.settings import MeshSettings


class InvokeSettings(MeshSettings):
    """What can be set; every field is the environment variable FNMESH_<FIELD>."""

    service: ClassVar[str] = "invoke"

    invoke_queue_limit: int = Field(default=1000, ge=0)
    """Requests that wait for one function; one more is answered 429."""
    invoke_queue_limit_in_all: int = Field(default=4000, ge=0)
    """Requests that wait for all functions together."""
    invoke_cold_start_limit_s: float = Field(default=30.0, gt=0)
    """How long a request waits for an instance to become ready, if its function's time limit is not longer."""
    invoke_grace_s: float = Field(default=1.0, ge=0)
    """How long after a function's time limit its workload may still answer, before it counts as stuck."""
    invoke_max_body_bytes: int = Field(default=32 * 1024 * 1024, gt=0)
    """Largest body of a request; a larger one is answered 413."""
    invoke_max_answer_bytes: int = Field(default=15 * 1024 * 1024, gt=0)
    """Largest answer of a unary Invoke (its message must stay below 16 MiB); InvokeStream has no limit."""
    invoke_drain_s: float = Field(default=20.0, ge=0)
    """How long requests have to end when the service stops."""
    invoke_executions_kept: int = Field(default=10_000, ge=0)
    """Newest execution records kept for each function."""
    invoke_execution_days: float = Field(default=14.0, gt=0)
    """Age at which an execution record is forgotten."""
    invoke_flush_interval_s: float = Field(default=0.5, gt=0)
    """How often execution records are written."""
