"""The decision about one function: what is started, drained and stopped, and what is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy_svc.domain import (
    DeploymentState,
    FailureKind,
    Failures,
    Function,
    Instance,
    InstanceState,
    Policy,
    Target,
    may_follow,
    retry_at,
)
from deploy_svc.rollout import Decision, Situation, decide

NOW = datetime(2030, 1, 1, tzinfo=UTC)
POLICY = Policy()
S, R, D = InstanceState.STARTING, InstanceState.READY, InstanceState.DRAINING


def function(revision: int = 1, **fields: Any) -> Function:
    base = Function(
        uid="fn-1", name="workspaces/ws/functions/fn-1", display_name="f", version=1, revision=revision,
        running=True, min_instances=1, target=Target.PROCESS,
    )  # fmt: skip
    return replace(base, **fields)


def instance(uid: str, revision: int, state: InstanceState, **fields: Any) -> Instance:
    base = Instance(
        uid=uid, function_uid="fn-1", revision=revision, target=Target.PROCESS, state=state, created_at=NOW,
        ready_at=NOW if state is R else None,
        drain_deadline=NOW + timedelta(seconds=35) if state is D else None,
    )  # fmt: skip
    return replace(base, **fields)


def failed(revision: int, kind: FailureKind, count: int = 1, message: str = "Why.", ago_s: float = 0) -> Failures:
    return Failures(revision, count, kind, NOW - timedelta(seconds=ago_s), message)


def choose(f: Function, *instances: Instance, released: tuple[str, ...] = (), **failures: Failures) -> Decision:
    by_revision = {one.revision: one for one in failures.values()}
    return decide(Situation(f, instances, released, by_revision), NOW, POLICY)


def test_nothing_there_starts_what_is_wanted() -> None:
    decision = choose(function(min_instances=2))
    assert decision.start == (1, 1) and decision.state is DeploymentState.STARTING


def test_a_minimum_of_zero_is_one_until_it_was_ready() -> None:
    assert choose(function(min_instances=0)).start == (1,)


def resting(unused_s: float, *instances: Instance, **fields: Any) -> Decision:
    one = function(**{"min_instances": 0, "last_ready_revision": 1, "state": DeploymentState.READY, **fields})
    return decide(Situation(one, instances, unused_s=unused_s), NOW, POLICY)


def test_what_nobody_asked_for_is_scaled_to_zero() -> None:
    decision = resting(300, instance("a", 1, R))
    assert (decision.state, decision.drain, decision.start) == (DeploymentState.IDLE, ("a",), ())
    assert "Scaled to zero" in decision.message
    assert resting(300, instance("a", 1, D), state=DeploymentState.IDLE).state is DeploymentState.IDLE


def test_it_is_looked_at_again_when_its_time_is_over() -> None:
    decision = resting(100, instance("a", 1, R))
    assert (decision.state, decision.drain) == (DeploymentState.READY, ())
    assert decision.look_again_at == NOW + timedelta(seconds=200)


def test_a_request_ends_the_rest() -> None:
    assert resting(float("inf"), state=DeploymentState.IDLE).start == ()
    assert resting(0, state=DeploymentState.IDLE).start == (1,)
    assert resting(0, instance("a", 1, D), state=DeploymentState.IDLE).start == (1,)


def test_a_new_revision_is_started_to_see_whether_it_works() -> None:
    assert resting(float("inf"), revision=2, state=DeploymentState.IDLE).start == (2,)


def test_a_minimum_of_one_never_rests() -> None:
    assert resting(float("inf"), instance("a", 1, R), min_instances=1).drain == ()


def test_starting_counts_as_there() -> None:
    assert choose(function(), instance("a", 1, S)).start == ()


def test_all_ready() -> None:
    decision = choose(function(), instance("a", 1, R))
    assert decision == Decision(DeploymentState.READY, all_ready=True)


@pytest.mark.parametrize("new", [S, None])
def test_the_old_serves_until_the_new_is_ready(new: InstanceState | None) -> None:
    there = [instance("old", 1, R)] + ([instance("new", 2, new)] if new else [])
    decision = choose(function(2), *there)
    assert decision.drain == () and decision.kill == ()
    assert decision.state is DeploymentState.STARTING


def test_the_old_drains_when_all_new_ones_are_ready() -> None:
    old = [instance("a", 1, R), instance("b", 1, R)]
    one = choose(function(2, min_instances=2), *old, instance("c", 2, R), instance("d", 2, S))
    both = choose(function(2, min_instances=2), *old, instance("c", 2, R), instance("d", 2, R))
    assert one.drain == () and both.drain == ("a", "b")


def test_a_revision_that_is_not_wanted_any_more_is_not_started_on() -> None:
    decision = choose(function(3), instance("a", 1, R), instance("b", 2, S))
    assert decision.kill == ("b",) and decision.start == (3,) and decision.drain == ()


def test_draining_ends_when_released_or_at_its_deadline() -> None:
    late = instance("late", 1, D, drain_deadline=NOW)
    decision = choose(function(2), instance("n", 2, R), instance("free", 1, D), instance("busy", 1, D), late,
                      released=("free",))  # fmt: skip
    assert set(decision.kill) == {"free", "late"}
    assert decision.look_again_at == NOW + timedelta(seconds=35)


def test_a_new_revision_that_fails_to_start() -> None:
    decision = choose(function(2), instance("a", 1, R), x=failed(2, FailureKind.START, message="ImportError: x"))
    assert decision.state is DeploymentState.FAILED and decision.message == "ImportError: x"
    assert decision.drain == () and decision.start == ()
    assert decision.look_again_at == NOW + timedelta(seconds=1)


def test_the_last_good_revision_comes_back_while_the_new_one_fails() -> None:
    decision = choose(function(2, last_ready_revision=1), x=failed(2, FailureKind.START))
    assert decision.start == (1,) and decision.state is DeploymentState.FAILED


def test_a_target_that_does_not_answer_is_pending() -> None:
    decision = choose(function(), x=failed(1, FailureKind.UNAVAILABLE, message="Docker does not answer."))
    assert decision.state is DeploymentState.PENDING and decision.message == "Docker does not answer."


def test_a_crash_is_degraded_and_restarted_after_the_backoff() -> None:
    at_once = choose(function(), x=failed(1, FailureKind.CRASH, 1, ago_s=0.3))
    later = choose(function(), x=failed(1, FailureKind.CRASH, 4, ago_s=0.3))
    assert at_once.start == (1,) and at_once.state is DeploymentState.DEGRADED
    assert later.start == () and later.look_again_at == NOW + timedelta(seconds=8 - 0.3)


@pytest.mark.parametrize(
    ("count", "kind", "seconds"),
    [
        (1, FailureKind.CRASH, 0.2),
        (2, FailureKind.CRASH, 2),
        (3, FailureKind.CRASH, 4),
        (50, FailureKind.CRASH, 60),
        (1, FailureKind.START, 1),
        (50, FailureKind.UNAVAILABLE, 15),
    ],
)
def test_backoff_doubles_up_to_its_cap(count: int, kind: FailureKind, seconds: float) -> None:
    assert retry_at(failed(1, kind, count), POLICY) == NOW + timedelta(seconds=seconds)


def test_failures_are_forgiven_after_being_healthy_for_long_enough() -> None:
    recently = choose(function(), instance("a", 1, R, ready_at=NOW - timedelta(seconds=10)),
                      x=failed(1, FailureKind.CRASH, 3, ago_s=11))  # fmt: skip
    long_ago = choose(function(), instance("a", 1, R, ready_at=NOW - timedelta(seconds=31)),
                      x=failed(1, FailureKind.CRASH, 3, ago_s=32))  # fmt: skip
    assert recently.forgive == () and recently.look_again_at == NOW + timedelta(seconds=20)
    assert long_ago.forgive == (1,)


def test_a_retired_instance_serves_until_its_replacement_is_ready() -> None:
    stuck = instance("stuck", 1, R, retired="A handler is stuck.")
    before = choose(function(), stuck)
    after = choose(function(), stuck, instance("new", 1, R))
    assert before.start == (1,) and before.drain == ()
    assert after.drain == ("stuck",) and after.start == ()


def test_fewer_wanted_drains_the_surplus() -> None:
    there = [instance(u, 1, R, created_at=NOW + timedelta(seconds=n)) for n, u in enumerate("abc")]
    assert choose(function(min_instances=1), *there).drain == ("b", "c")


@pytest.mark.parametrize("fields", [{"running": False}, {"revision": 0}, {"deleted": True}])
def test_winding_down(fields: dict[str, Any]) -> None:
    f = function(**{"state": DeploymentState.READY, **fields})
    decision = choose(f, instance("a", 1, R), instance("b", 1, S), instance("c", 1, D))
    assert decision.drain == ("a",) and decision.kill == ("b",) and decision.start == ()
    assert not decision.forget and decision.state is DeploymentState.READY
    over = choose(f)
    assert over.state is DeploymentState.STOPPED and over.forget == f.deleted


def test_what_was_never_deployed_has_no_state() -> None:
    assert choose(function(0)).state is DeploymentState.NONE


def test_ends_are_final() -> None:
    assert not any(may_follow(InstanceState.STOPPED, s) or may_follow(InstanceState.FAILED, s) for s in InstanceState)


# The promise: a function that serves goes on serving, whatever comes, unless its instances die by themselves.

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("want"), st.integers(1, 4)),
        st.tuples(st.just("scale"), st.integers(0, 3)),
        st.tuples(st.just("ready"), st.integers(0, 5)),
        st.tuples(st.just("start fails"), st.integers(0, 5)),
        st.tuples(st.just("retire"), st.integers(0, 5)),
        st.tuples(st.just("release"), st.integers(0, 5)),
        st.tuples(st.just("wait"), st.integers(1, 100)),
    ),
    max_size=60,
)


@settings(max_examples=400, deadline=None)
@given(EVENTS)
def test_the_last_accepting_instance_never_goes_before_its_replacement_is_ready(
    events: list[tuple[str, int]],
) -> None:
    world = World()
    for event, number in events:
        world.happen(event, number)
        world.settle()


class World:
    """Acts on decisions as the reconciler does, and checks each of them."""

    def __init__(self) -> None:
        self.now = NOW
        self.function = function()
        self.instances: dict[str, Instance] = {}
        self.failures: dict[int, Failures] = {}
        self.released: set[str] = set()
        self.made = 0
        self.settle()

    def happen(self, event: str, number: int) -> None:
        if event == "want" and number != self.function.revision:
            self.function = replace(self.function, revision=number)
            self.failures.pop(number, None)
        elif event == "scale":
            self.function = replace(self.function, min_instances=number)
        elif event == "wait":
            self.now += timedelta(seconds=number)
        elif event == "ready":
            self._change(S, number, state=R, ready_at=self.now)
        elif event == "retire":
            self._change(R, number, retired="Stuck.")
        elif event == "release":
            one = self._pick(D, number)
            if one:
                self.released.add(one.uid)
        elif event == "start fails":
            one = self._pick(S, number)
            if one:
                del self.instances[one.uid]
                count = self.failures[one.revision].count + 1 if one.revision in self.failures else 1
                self.failures[one.revision] = Failures(one.revision, count, FailureKind.START, self.now, "No.")

    def settle(self) -> None:
        for _ in range(20):
            before = self._accepting()
            situation = Situation(self.function, tuple(self.instances.values()), self.released, self.failures)
            decision = decide(situation, self.now, POLICY)
            if not (decision.start or decision.drain or decision.kill or decision.forgive):
                return
            for uid in decision.kill:
                assert self.instances[uid].state is not R, "an accepting instance was stopped without draining"
                del self.instances[uid]
            for uid in decision.drain:
                deadline = self.now + timedelta(seconds=35)
                self.instances[uid] = replace(self.instances[uid], state=D, drain_deadline=deadline)
            for revision in decision.start:
                self.made += 1
                uid = f"i{self.made:04}"
                self.instances[uid] = instance(uid, revision, S, created_at=self.now)
            for revision in decision.forgive:
                self.failures.pop(revision, None)
            if decision.all_ready:
                self.function = replace(self.function, last_ready_revision=self.function.revision)
            wanted = self.function.wanted_instances
            assert self._accepting() >= min(before, wanted), "fewer instances take requests than before"
        raise AssertionError("it does not settle")

    def _accepting(self) -> int:
        return sum(i.state is R for i in self.instances.values())

    def _pick(self, state: InstanceState, number: int) -> Instance | None:
        found = sorted((i for i in self.instances.values() if i.state is state), key=lambda i: i.uid)
        return found[number % len(found)] if found else None

    def _change(self, which: InstanceState, number: int, **fields: Any) -> None:
        one = self._pick(which, number)
        if one:
            self.instances[one.uid] = replace(one, **fields)
