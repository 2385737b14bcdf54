"""What a workload's server is told about its function, whatever the target."""

from __future__ import annotations

from deploy_svc.domain import Workload
from runtimes.catalog import Launch


def launch_of(workload: Workload) -> Launch:
    """The server's orders, of the revision's settings."""
    return Launch(
        file=workload.artifact.entry_file,
        function=workload.function_name,
        revision=str(workload.revision),
        handler=workload.handler,
        event_format="body" if workload.event_format == "body" else "v2",
        concurrency=workload.limits.concurrency,
        timeout_ms=workload.limits.timeout_ms,
        memory_mb=max(1, workload.limits.memory_bytes >> 20),
    )
