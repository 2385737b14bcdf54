"""Settings of invoke_svc: FNMESH_INVOKE_* and those that all services share."""

from __future__ import annotations

from typing import ClassVar, Literal

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
    invoke_body_bytes_kept: int = Field(default=4096, ge=0, le=4096)
    """How much of the payload and of the answer of a direct invoke is kept with its record; 0 keeps nothing."""
    invoke_flush_interval_s: float = Field(default=0.5, gt=0)
    """How often execution records are written."""

    invoke_job_function_slots: int = Field(default=64, ge=1, le=10_000)
    """Jobs of functions that this process runs at once."""
    invoke_job_script_slots: int = Field(default=4, ge=0, le=1_000)
    """Scripts that this process has run at once."""
    invoke_job_workspace_concurrency: int = Field(default=64, ge=1)
    """Jobs of one workspace that run at once, in all processes together."""
    invoke_job_queue_limit: int = Field(default=200_000, ge=1)
    """Jobs of one workspace that wait in the queue; one more is refused."""
    invoke_job_orphans_s: float = Field(default=5.0, gt=0)
    """How often is looked for jobs of workspaces that were deleted: they are cancelled."""
    invoke_job_lease_s: float = Field(default=10.0, gt=0)
    """How long after its last sign of life a worker's jobs are taken from it."""
    invoke_job_poll_s: float = Field(default=0.5, gt=0)
    """How often an empty queue is looked at for what other processes put there."""
    invoke_job_cancel_poll_s: float = Field(default=0.3, gt=0)
    """How often running jobs are looked at for a wish to cancel them that came by another process."""
    invoke_job_retry_first_s: float = Field(default=1.0, gt=0)
    """Longest wait before the second attempt of a job; doubled for each one after it."""
    invoke_job_retry_limit_s: float = Field(default=60.0, gt=0)
    """Longest wait between two attempts."""
    invoke_job_patience_s: float = Field(default=3600.0, ge=0)
    """How long a job that nobody can run (no instance, no room) is kept waiting before that counts as a failure."""
    invoke_job_event_bytes: int = Field(default=1 << 20, gt=0, le=8 << 20)
    """Largest event of a job."""
    invoke_job_log_bytes: int = Field(default=16 << 20, gt=0)
    """Largest log of a script; the rest is left out."""
    invoke_job_target: Literal["process", "docker"] = "process"
    """Where scripts run that do not say where."""
    invoke_job_lines_kept_s: float = Field(default=600.0, ge=0)
    """How long after a job's end its log stays in the database, too."""
    invoke_job_days: float = Field(default=14.0, gt=0)
    """How long a job is kept after its end."""
    invoke_job_drain_s: float = Field(default=3.0, ge=0)
    """How long running jobs have to end when the service stops; then they are given up."""
