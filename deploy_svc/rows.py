"""Rows to domain types and back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from deploy_svc.domain import (
    ClusterSettings,
    DeploymentState,
    FailureKind,
    Failures,
    Function,
    Instance,
    InstanceState,
    LogLine,
    LogStream,
    Target,
)

_FUNCTION_FIELDS = tuple(Function.__dataclass_fields__)
_INSTANCE_FIELDS = tuple(Instance.__dataclass_fields__)


def to_function(row: Any) -> Function:
    """The function that a row of `functions` keeps."""
    fields = {name: getattr(row, name) for name in _FUNCTION_FIELDS}
    own = {"target": Target(row.target), "state": DeploymentState(row.state), "cluster": _to_cluster(row.cluster)}
    return Function(**fields | own)


def from_cluster(cluster: ClusterSettings) -> dict[str, Any]:
    """What a row of `functions` keeps of the settings."""
    return asdict(cluster) | {"image_pull_secrets": list(cluster.image_pull_secrets)}


def _to_cluster(kept: dict[str, Any]) -> ClusterSettings:
    return ClusterSettings(**kept | {"image_pull_secrets": tuple(kept.get("image_pull_secrets", ()))})


def to_instance(row: Any) -> Instance:
    """The instance that a row of `instances` keeps."""
    fields = {name: getattr(row, name) for name in _INSTANCE_FIELDS}
    return Instance(**fields | {"target": Target(row.target), "state": InstanceState(row.state)})


def from_instance(instance: Instance) -> dict[str, Any]:
    """The row of an instance that is new."""
    return asdict(instance) | {"live": instance.live, "cleaned": False}


def to_failures(row: Any) -> Failures:
    """The failures that a row of `revisions` counts; only for one that has any."""
    return Failures(row.revision, row.failures, FailureKind(row.failure_kind), row.failed_at, row.failure_message)


def to_line(row: Any) -> LogLine:
    """The line that a row of `log_lines` keeps."""
    return LogLine(
        function_uid=row.function_uid,
        instance=row.instance,
        revision=row.revision,
        written_at=row.written_at,
        stream=LogStream(row.stream),
        text=row.text,
        trace_id=row.trace_id,
        sequence=row.sequence,
    )


def from_line(line: LogLine, sequence: int) -> dict[str, Any]:
    """The row of a line."""
    text = line.text.replace("\0", "\N{SYMBOL FOR NULL}")  # PostgreSQL keeps no NUL
    return asdict(line) | {"sequence": sequence, "text": text, "bytes": len(text.encode())}
