"""How runs are counted."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoke_svc.domain import Run, Trigger
from invoke_svc.stats.tally import STEP_S, Count, bucket_of, middle_of, summary, tally


def run(started: float = 0.0, duration_s: float = 0.01, *, failed: bool = False, function: str = "fn-1") -> Run:
    return Run("u", Trigger.HTTP, started, "", function_uid=function, duration_s=duration_s, failed=failed)


def test_runs_are_counted_by_function_step_and_bucket() -> None:
    runs = [run(), run(failed=True), run(STEP_S), run(function="fn-2"), run(duration_s=5)]

    counts = tally(runs)

    short = bucket_of(0.01)
    assert counts[("fn-1", 0, short)].runs == 2
    assert counts[("fn-1", 0, short)].failures == 1
    assert counts[("fn-1", 0, bucket_of(5))].duration_s == pytest.approx(5)
    assert {key[:2] for key in counts} == {("fn-1", 0), ("fn-1", 1), ("fn-2", 0)}


@given(st.floats(1e-6, 1e5))
def test_a_buckets_middle_is_near_all_that_is_in_it(duration_s: float) -> None:
    assert middle_of(bucket_of(duration_s)) == pytest.approx(duration_s, rel=0.10)


@given(st.lists(st.floats(1e-4, 100), min_size=1, max_size=200))
def test_quantiles_are_within_a_tenth(durations: list[float]) -> None:
    counts: dict[int, Count] = {}
    for (_, _, bucket), count in tally([run(duration_s=one) for one in durations]).items():
        counts[bucket] = count

    found = summary(counts)

    ordered = sorted(durations)
    assert found.invocations == len(durations)
    assert found.average_s == pytest.approx(statistics.fmean(durations))
    assert found.p50_s == pytest.approx(ordered[(len(ordered) + 1) // 2 - 1], rel=0.10)
    assert found.p50_s <= found.p95_s <= found.p99_s


def test_a_duration_of_nothing_has_a_bucket() -> None:
    assert bucket_of(0.0) == 0
