"""What jobs are, which state follows which, and when an attempt is followed by another one."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, IntEnum


class JobState(IntEnum):
    """Where a job stands; the numbers are those of the API and of the table."""

    PENDING = 1
    QUEUED = 2
    RUNNING = 3
    SUCCESS = 4
    FAILED = 5
    TIMEOUT = 6
    CANCELLED = 7
    DEAD = 8

    @property
    def ended(self) -> bool:
        return self >= JobState.SUCCESS

    @property
    def redrivable(self) -> bool:
        """Whether it has ended without doing what it should."""
        return self > JobState.SUCCESS


class Kind(IntEnum):
    """What a job runs."""

    FUNCTION = 1
    SCRIPT = 2


class Language(IntEnum):
    """What a script is written in; the numbers are those of the API."""

    NONE = 0
    PYTHON = 1
    NODE = 2

    @property
    def suffix(self) -> str:
        return "js" if self is Language.NODE else "py"


class ScriptTarget(IntEnum):
    """Where a script runs; the numbers are those of the API."""

    DEFAULT = 0
    PROCESS = 1
    DOCKER = 2


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it is stored. Times are seconds since the epoch by the database's clock, 0 where there is none.

    `claim` goes up with every claim of a worker: what is written for an older one is written for nothing. `version`
    goes up with every change. `timeout_s` is 0 for a function's own limit. `http` says that the event is of an HTTP
    request.
    """

    uid: str
    workspace_uid: str
    workspace_name: str
    kind: Kind
    state: JobState = JobState.PENDING
    function_uid: str = ""
    function_name: str = ""
    function_display_name: str = ""
    language: Language = Language.NONE
    target: ScriptTarget = ScriptTarget.DEFAULT
    memory_bytes: int = 0
    timeout_s: float = 0.0
    max_attempts: int = 1
    attempt: int = 0
    claim: int = 0
    owner: str = ""
    cancel: bool = False
    due: float = 0.0
    lease_until: float = 0.0
    queued_at: float = 0.0
    postponed: int = 0
    exit_code: int | None = None
    status_code: int = 0
    error: str = ""
    execution: str = ""
    log_key: str = ""
    code_key: str | None = None
    result_key: str = ""
    traceparent: str = ""
    request_id: str | None = None
    schedule_uid: str = ""
    http: bool = False
    created: float = 0.0
    updated: float = 0.0
    started: float = 0.0
    ended: float = 0.0
    version: int = 1
    event: bytes = b""
    result: bytes = b""

    @property
    def name(self) -> str:
        """Resource name."""
        return f"workspaces/{self.workspace_uid}/jobs/{self.uid}"

    @property
    def trace_id(self) -> str:
        parts = self.traceparent.split("-")
        return parts[1] if len(parts) == 4 else ""


class End(Enum):
    """How an attempt ended."""

    DONE = "done"
    REFUSED = "refused"
    """It went wrong in a way that will not be better next time."""
    FAILED = "failed"
    TIMED_OUT = "timed out"
    LOST = "lost"
    """Its worker went away with it."""
    CANCELLED = "cancelled"
    NOT_BEGUN = "not begun"
    """Nothing of it has run: there was nobody to run it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt came to. `error` is a reason and a sentence; `result` what a function answered."""

    end: End
    error: str = ""
    exit_code: int | None = None
    status_code: int = 0
    execution: str = ""
    result: bytes = b""
    result_key: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a job after an attempt: its state, and for QUEUED the wait, and whether the attempt counts."""

    state: JobState
    delay_s: float = 0.0
    counts: bool = True


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Waits between attempts: chosen by chance from zero to `first_s`, doubled each time, at most `limit_s`.

    A job that nobody can run is kept waiting for `patience_s` without its attempts being counted.
    """

    first_s: float = 1.0
    limit_s: float = 60.0
    patience_s: float = 3600.0

    def delay_s(self, failures: int, chance: Callable[[float, float], float] = random.uniform) -> float:
        """The wait after so many failures (1 or more). Full jitter: retries of many jobs spread out evenly."""
        return chance(0.0, min(self.limit_s, self.first_s * 2 ** min(failures - 1, 30)))


def decide(job: Job, end: End, policy: RetryPolicy, now: float) -> Decision:
    """What becomes of a RUNNING job whose attempt has ended."""
    if end is End.DONE:
        return Decision(JobState.SUCCESS)
    if end is End.CANCELLED or job.cancel:
        return Decision(JobState.CANCELLED)
    if end is End.REFUSED:
        return Decision(JobState.FAILED)
    if end is End.NOT_BEGUN and now - job.queued_at < policy.patience_s:
        # Never at once: whoever could not run it may not be able to a moment later.
        return Decision(JobState.QUEUED, 0.05 + policy.delay_s(job.postponed + 1), counts=False)
    if job.attempt < job.max_attempts:
        return Decision(JobState.QUEUED, policy.delay_s(job.attempt))
    if job.max_attempts > 1:
        return Decision(JobState.DEAD)
    return Decision(JobState.TIMEOUT if end is End.TIMED_OUT else JobState.FAILED)
