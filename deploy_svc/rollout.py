"""What to do next about one function: desired state and observed instances in, actions out.

The decision is pure and may be taken again at any time: taking it twice for the same state asks for the same.
Its promise: while a function should be serving, no instance that takes requests is drained before as many as are
wanted of the revision that replaces it answer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from deploy_svc.domain import (
    DeploymentState,
    FailureKind,
    Failures,
    Function,
    Instance,
    InstanceState,
    Policy,
    retry_at,
)

RESTS = "Scaled to zero: the next request starts an instance."


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now, what to tell about the deployment, and when to look again at the latest.

    `start` names a revision for each instance to start; `drain` and `kill` name instances; `forgive` names
    revisions whose failures are over; `forget` says that nothing of a deleted function is left.
    """

    state: DeploymentState
    message: str = ""
    start: tuple[int, ...] = ()
    drain: tuple[str, ...] = ()
    kill: tuple[str, ...] = ()
    forgive: tuple[int, ...] = ()
    forget: bool = False
    look_again_at: datetime | None = None
    all_ready: bool = False


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known about one function: its live instances, which of them are released, failures by revision, and
    for how long nobody has asked for it.
    """

    function: Function
    instances: Sequence[Instance]
    released: Collection[str] = ()
    failures: Mapping[int, Failures] = field(default_factory=dict)
    unused_s: float = 0.0


def decide(situation: Situation, now: datetime, policy: Policy) -> Decision:
    """The decision for `situation` at `now`."""
    live = sorted((i for i in situation.instances if i.live), key=lambda i: (i.created_at, i.uid))
    if situation.function.wanted_instances == 0:
        return _wind_down(situation, live, now)
    if situation.function.may_rest and situation.unused_s >= situation.function.idle_ttl_s:
        return replace(_wind_down(situation, live, now), state=DeploymentState.IDLE, message=RESTS)
    return _serve(situation, live, now, policy)


def step_aside(situation: Situation, now: datetime) -> Decision:
    """What to do with instances of a function that is run elsewhere: they go when it is ready there, or is not wanted.

    The state is not decided here.
    """
    function = situation.function
    live = [i for i in situation.instances if i.live]
    if function.wanted_instances == 0 or function.was_ready:
        return _wind_down(situation, live, now)
    kill, wait_until = _drained(live, situation.released, now)
    return Decision(state=function.state, kill=kill, look_again_at=wait_until)


def _wind_down(situation: Situation, live: Sequence[Instance], now: datetime) -> Decision:
    function = situation.function
    kill, wait_until = _drained(live, situation.released, now)
    state, message = function.state, ""
    if not live:
        state = DeploymentState.NONE if function.revision == 0 and _untouched(function) else DeploymentState.STOPPED
    elif any(i.state is not InstanceState.STARTING for i in live):
        message = "Stopping: requests that have begun are finished first."
    return Decision(
        state=state,
        message=message,
        drain=tuple(i.uid for i in live if i.state is InstanceState.READY),
        kill=kill + tuple(i.uid for i in live if i.state is InstanceState.STARTING),
        forget=function.deleted and not live,
        look_again_at=wait_until,
    )


def _untouched(function: Function) -> bool:
    return function.state is DeploymentState.NONE


def _serve(situation: Situation, live: Sequence[Instance], now: datetime, policy: Policy) -> Decision:
    function, failures = situation.function, situation.failures
    wanted, revision = function.wanted_instances, function.revision
    plan = _Plan(live, wanted, failures, now, policy)
    ready = plan.ready(revision)

    plan.keep(revision)
    fallback = _fallback(function, failures, ready)
    if fallback:
        plan.keep(fallback)
    kill_draining, drained_at = _drained(live, situation.released, now)
    kill_starting = tuple(i.uid for i in live if i.state is InstanceState.STARTING and i.uid not in plan.kept)
    drain = _to_drain(plan, revision, fallback)
    forgive, forgiven_at = _forgiven(failures.get(revision), ready, now, policy)
    state, message = _state(failures.get(revision), len(ready), wanted)
    rests_at = now + timedelta(seconds=function.idle_ttl_s - situation.unused_s) if function.may_rest else None
    return Decision(
        state=state,
        message=message,
        start=tuple(plan.start),
        drain=drain,
        kill=kill_draining + kill_starting,
        forgive=forgive,
        look_again_at=min((t for t in (drained_at, forgiven_at, rests_at, *plan.retries) if t), default=None),
        all_ready=len(ready) >= wanted,
    )


class _Plan:
    """Collects which instances are kept and which are missing, revision by revision."""

    def __init__(
        self,
        live: Sequence[Instance],
        wanted: int,
        failures: Mapping[int, Failures],
        now: datetime,
        policy: Policy,
    ) -> None:
        self.live, self.wanted = live, wanted
        self.kept: set[str] = set()
        self.start: list[int] = []
        self.retries: list[datetime] = []
        self._failures, self._now, self._policy = failures, now, policy

    def ready(self, revision: int) -> list[Instance]:
        """Instances of the revision that answer and need no replacement, oldest first."""
        return [i for i in self._usable(revision) if i.state is InstanceState.READY]

    def keep(self, revision: int) -> None:
        """Keep as many instances of the revision as are wanted, ready ones first; ask for those missing."""
        usable = sorted(self._usable(revision), key=lambda i: i.state is not InstanceState.READY)
        self.kept |= {i.uid for i in usable[: self.wanted]}
        missing = self.wanted - len(usable)
        if missing <= 0:
            return
        failed = self._failures.get(revision)
        at = retry_at(failed, self._policy) if failed else self._now
        if at <= self._now or at > self._now + timedelta(seconds=self._policy.backoff_cap_s):  # the clock went back
            self.start += [revision] * missing
        else:
            self.retries.append(at)

    def _usable(self, revision: int) -> list[Instance]:
        return [
            i
            for i in self.live
            if i.revision == revision and not i.retired and i.state in (InstanceState.STARTING, InstanceState.READY)
        ]


def _fallback(function: Function, failures: Mapping[int, Failures], ready: Sequence[Instance]) -> int:
    """The revision to keep alive because the wanted one cannot be started; 0 where there is none."""
    last = function.last_ready_revision
    if last in (0, function.revision) or ready or function.revision not in failures:
        return 0
    return last


def _to_drain(plan: _Plan, revision: int, fallback: int) -> tuple[str, ...]:
    accepting = [i for i in plan.live if i.state is InstanceState.READY]
    if len(plan.ready(revision)) >= plan.wanted:
        return tuple(i.uid for i in accepting if i.uid not in plan.kept)
    replaced = fallback and len(plan.ready(fallback)) >= plan.wanted
    return tuple(i.uid for i in accepting if replaced and i.uid not in plan.kept and i.revision != revision)


def _drained(
    live: Sequence[Instance], released: Collection[str], now: datetime
) -> tuple[tuple[str, ...], datetime | None]:
    """Draining instances that may be stopped now, and when the next one must be at the latest."""
    done, deadlines = [], []
    for instance in live:
        if instance.state is not InstanceState.DRAINING:
            continue
        deadline = instance.drain_deadline or now
        if instance.uid in released or deadline <= now:
            done.append(instance.uid)
        else:
            deadlines.append(deadline)
    return tuple(done), min(deadlines, default=None)


def _forgiven(
    failed: Failures | None, ready: Sequence[Instance], now: datetime, policy: Policy
) -> tuple[tuple[int, ...], datetime | None]:
    """Whether the failures are over: an instance has been ready for long enough since the last one."""
    if failed is None or not ready:
        return (), None
    since = min(max(i.ready_at or now, failed.last_at) for i in ready)
    over_at = since + timedelta(seconds=policy.healthy_reset_s)
    clock_went_back = since > now
    return ((failed.revision,), None) if over_at <= now or clock_went_back else ((), over_at)


def _state(failed: Failures | None, ready: int, wanted: int) -> tuple[DeploymentState, str]:
    if ready >= wanted:
        return DeploymentState.READY, ""
    if failed is None:
        return DeploymentState.STARTING, ""
    if failed.kind is FailureKind.UNAVAILABLE and ready == 0:
        return DeploymentState.PENDING, failed.message
    if failed.kind is FailureKind.START and ready == 0:
        return DeploymentState.FAILED, failed.message
    return DeploymentState.DEGRADED, failed.message
