"""What becomes of a job after an attempt, and how long it waits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoke_svc.jobs.domain import End, Job, JobState, Kind, RetryPolicy, decide

POLICY = RetryPolicy(first_s=1.0, limit_s=60.0, patience_s=100.0)
JOB = Job("u", "ws-1", "default", Kind.FUNCTION, JobState.RUNNING, attempt=1, max_attempts=3, claim=1, queued_at=1000.0)


@pytest.mark.parametrize(
    ("end", "attempt", "most", "state"),
    [
        (End.DONE, 1, 3, JobState.SUCCESS),
        (End.REFUSED, 1, 3, JobState.FAILED),
        (End.CANCELLED, 1, 3, JobState.CANCELLED),
        (End.FAILED, 1, 3, JobState.QUEUED),
        (End.TIMED_OUT, 2, 3, JobState.QUEUED),
        (End.LOST, 2, 3, JobState.QUEUED),
        (End.FAILED, 3, 3, JobState.DEAD),
        (End.TIMED_OUT, 3, 3, JobState.DEAD),
        (End.LOST, 3, 3, JobState.DEAD),
        (End.FAILED, 1, 1, JobState.FAILED),
        (End.LOST, 1, 1, JobState.FAILED),
        (End.TIMED_OUT, 1, 1, JobState.TIMEOUT),
    ],
)
def test_what_follows_an_attempt(end: End, attempt: int, most: int, state: JobState) -> None:
    assert decide(replace(JOB, attempt=attempt, max_attempts=most), end, POLICY, 1001.0).state is state


def test_what_could_not_begin_waits_without_being_counted_until_patience_ends() -> None:
    waiting = decide(JOB, End.NOT_BEGUN, POLICY, 1099.0)
    assert (waiting.state, waiting.counts) == (JobState.QUEUED, False)
    assert waiting.delay_s > 0
    over = decide(replace(JOB, attempt=3), End.NOT_BEGUN, POLICY, 1100.0)
    assert (over.state, over.counts) == (JobState.DEAD, True)


@pytest.mark.parametrize("end", [end for end in End if end is not End.DONE])
def test_whatever_goes_wrong_a_job_to_be_cancelled_is_not_tried_again(end: End) -> None:
    assert decide(replace(JOB, cancel=True), end, POLICY, 1001.0).state is JobState.CANCELLED


def test_what_was_done_before_it_could_be_cancelled_is_done() -> None:
    assert decide(replace(JOB, cancel=True), End.DONE, POLICY, 1001.0).state is JobState.SUCCESS


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_the_wait_is_chosen_between_zero_and_a_bound_that_doubles(failures: int, luck: float) -> None:
    wait = POLICY.delay_s(failures, lambda low, high: low + (high - low) * luck)
    assert 0 <= wait <= min(60.0, 2.0 ** min(failures - 1, 10))
    assert POLICY.delay_s(failures, lambda low, high: high) == min(60.0, 2.0 ** min(failures - 1, 10))


@given(st.sampled_from(list(End)), st.integers(1, 5), st.integers(1, 5), st.booleans(), st.floats(0, 300))
def test_no_end_leaves_a_job_running(end: End, attempt: int, most: int, cancel: bool, after: float) -> None:
    job = replace(JOB, attempt=attempt, max_attempts=most, cancel=cancel)
    what = decide(job, end, POLICY, 1000.0 + after)
    assert what.state is JobState.QUEUED or what.state.ended
