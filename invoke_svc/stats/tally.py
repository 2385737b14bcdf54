"""How runs are counted: by function, step of time, and bucket of duration. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from invoke_svc.domain import Run

STEP_S = 300
_BUCKETS_PER_DOUBLING = 4  # a bucket's middle is within 9 % of all that is in it
_SMALLEST_S = 1e-6

Key = tuple[str, int, int]
"""Function, step (its start in seconds since the epoch / STEP_S), bucket."""


@dataclass(slots=True)
class Count:
    """What is counted of the runs of one key."""

    runs: int = 0
    failures: int = 0
    duration_s: float = 0.0


@dataclass(frozen=True)
class Summary:
    """How a function ran within a period. Times are seconds."""

    invocations: int
    failures: int
    average_s: float
    p50_s: float
    p95_s: float
    p99_s: float


def tally(runs: Iterable[Run]) -> dict[Key, Count]:
    """The runs, counted."""
    counts: dict[Key, Count] = {}
    for run in runs:
        key = (run.function_uid, int(run.started // STEP_S), bucket_of(run.duration_s))
        count = counts.get(key)
        if count is None:
            count = counts[key] = Count()
        count.runs += 1
        count.failures += run.failed
        count.duration_s += run.duration_s
    return counts


def bucket_of(duration_s: float) -> int:
    """The bucket that a duration falls into: the larger, the longer."""
    return round(_BUCKETS_PER_DOUBLING * math.log2(max(duration_s, _SMALLEST_S) / _SMALLEST_S))


def middle_of(bucket: int) -> float:
    """The duration that stands for a bucket."""
    return _SMALLEST_S * math.exp2(bucket / _BUCKETS_PER_DOUBLING)


def summary(counts: Mapping[int, Count]) -> Summary:
    """What counts by bucket say. There is at least one run."""
    runs = sum(count.runs for count in counts.values())
    return Summary(
        invocations=runs,
        failures=sum(count.failures for count in counts.values()),
        average_s=sum(count.duration_s for count in counts.values()) / runs,
        p50_s=_quantile(counts, 0.50 * runs),
        p95_s=_quantile(counts, 0.95 * runs),
        p99_s=_quantile(counts, 0.99 * runs),
    )


def _quantile(counts: Mapping[int, Count], rank: float) -> float:
    passed = 0
    for bucket in sorted(counts):
        passed += counts[bucket].runs
        if passed >= rank:
            return middle_of(bucket)
    raise ValueError("no runs")
