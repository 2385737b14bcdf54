"""Log lines, metrics and usage as older clients read them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

_AT = "2026-01-01T00:00:00Z"
_DEGRADED = "Loki did not answer within 1.5 s; this is what the mesh has itself."


class Line(BaseModel):
    """One line that a function wrote."""

    timestamp: str = Field(examples=[_AT])
    line: str = Field(examples=["working"])
    labels: dict[str, str] = Field(
        description="function_id, workspace_id, revision, instance, stream; trace_id where it is known."
    )


class Lines(BaseModel):
    """Log lines, newest first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "function_id": "fn-abcdefghijkl",
                    "logs": [{"timestamp": _AT, "line": "working", "labels": {"stream": "stdout"}}],
                    "source": "builtin",
                }
            ]
        }
    )

    function_id: str
    logs: list[Line]
    source: Literal["loki", "builtin"]
    degraded: str | None = Field(
        default=None, description="Why this is not Loki's answer; absent otherwise.", examples=[_DEGRADED]
    )


class Sample(BaseModel):
    """A value, and the minute it is of."""

    timestamp: str = Field(examples=[_AT])
    value: float


class Series(BaseModel):
    """What it is now, and was over 60 minutes, oldest first."""

    current: float
    series: list[Sample]


class Latency(BaseModel):
    """Milliseconds that so many of 100 invocations took at most."""

    p50: float
    p95: float
    p99: float


class Metrics(BaseModel):
    """How a function did within the last 60 minutes."""

    function_id: str = Field(examples=["fn-abcdefghijkl"])
    cpu: Series = Field(description="CPUs; 1.0 is one of them all the time.")
    memory: Series = Field(description="Bytes.")
    invocations: int
    errors: int
    latency_ms: Latency
    source: Literal["prometheus", "builtin"]
    degraded: str | None = Field(default=None, description="Why this is not Prometheus' answer; absent otherwise.")


class ClusterPoint(BaseModel):
    """What a deployment target used, in percent of its machine."""

    timestamp: str = Field(examples=[_AT])
    cpu_utilization: float = Field(examples=[1.5])
    memory_utilization: float = Field(examples=[20.1])


class ClusterUsage(BaseModel):
    """Points of a deployment target, oldest first."""

    cluster: str = Field(examples=["default"])
    points: list[ClusterPoint]


class ClusterMetrics(BaseModel):
    """The metrics that there are of a deployment target."""

    metrics: list[str] = Field(examples=[["CPUUtilization", "MemoryUtilization"]])
