"""How an app is, in words, and what of its pods becomes rows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deploy_svc.activity import Activity
from deploy_svc.domain import DeploymentState, Instance, InstanceState
from deploy_svc.kubernetes.names import instance_uid
from deploy_svc.kubernetes.pods import instances_of
from deploy_svc.kubernetes.resting import Resting
from deploy_svc.kubernetes.rollout import Seen, judge
from deploy_svc.kubernetes.views import Condition, Ended, Held, Pod
from mesh.clock import FakeClock
from tests.support.golden_manifests import function

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LATER = datetime(2030, 1, 2, tzinfo=UTC)
LATE = Condition("Progressing", "False", "ProgressDeadlineExceeded")


def pod(name: str = "hello-a", revision: int = 4, **fields: Any) -> Pod:
    base: dict[str, Any] = {
        "namespace": "apps", "name": name, "function_uid": "fn-abcdefghijkl", "version": 1, "uid": f"uid-{name}",
        "revision": revision, "created_at": NOW, "container": "function", "address": "10.0.0.1:8080",
        "phase": "Running", "running": True, "concurrency": 10, "timeout_ms": 5000, "memory": "256Mi",
    }  # fmt: skip
    return Pod(**base | fields)


def seen(*pods: Pod, answering: tuple[str, ...] = (), **main: Any) -> Seen:
    held = Held("Deployment", "apps", "hello", "fn-abcdefghijkl", 1, **main)
    return Seen(held, pods, frozenset(f"uid-{name}" for name in answering))


def test_as_many_as_are_wanted_answer() -> None:
    verdict = judge(function(), 1, seen(pod(), answering=("hello-a",)))
    assert (verdict.state, verdict.message, verdict.all_ready) == (DeploymentState.READY, "", True)


def test_pods_of_another_revision_or_that_end_do_not_count() -> None:
    old, ends = pod("hello-b", revision=3), pod("hello-c", ending=True)
    verdict = judge(function(), 1, seen(old, ends, answering=("hello-b", "hello-c")))
    assert verdict.state is DeploymentState.STARTING
    assert verdict.message == "0 of 1 pod of revision 4 answer."


def test_what_the_controller_has_not_seen_yet_is_not_judged() -> None:
    stale = seen(pod(), answering=("hello-a",), current=False, conditions=(LATE,))
    assert judge(function(), 1, stale).state is DeploymentState.STARTING


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"waiting": "ImagePullBackOff", "running": False, "message": "not\n found"},
         "its image cannot be pulled (ImagePullBackOff): not found."),
        ({"waiting": "InvalidImageName", "running": False},
         "its image cannot be pulled (InvalidImageName): look at its name."),
        ({"ended": Ended(137, "OOMKilled"), "running": False},
         "It used more memory than its limit of 256Mi and was killed (OOMKilled)."),
        ({"ended": Ended(1, "Error", "Traceback\nValueError: no"), "running": False},
         "It exited with code 1: ValueError: no."),
        ({"ended": Ended(139), "running": False}, "It was killed by signal 11."),
        ({"unschedulable": "0/3 nodes are available."}, "no node takes it (Unschedulable): 0/3 nodes are available."),
        ({"phase": "Failed", "message": "Evicted"}, "it has failed: Evicted."),
        ({"waiting": "RunContainerError", "message": "exec"},
         "its container cannot be started (RunContainerError): exec."),
    ],
)  # fmt: skip
def test_why_a_pod_does_not_answer(fields: dict[str, Any], words: str) -> None:
    verdict = judge(function(), 2, seen(pod("hello-b"), pod(**fields), answering=("hello-b",)))
    assert verdict.message == f"1 of 2 pods of revision 4 answer; pod hello-a: {words}"


def test_a_rollout_that_makes_no_progress_has_failed_and_who_serves_is_said() -> None:
    old = pod("hello-b", revision=3)
    verdict = judge(function(), 1, seen(pod(), old, answering=("hello-b",), conditions=(LATE,)))
    assert verdict.state is DeploymentState.FAILED
    assert verdict.message == "0 of 1 pod of revision 4 answer. Revision 3 keeps serving."


def test_what_was_said_of_an_earlier_spin_app_is_not_said_of_this_one() -> None:
    def state(since: datetime) -> DeploymentState:
        late = replace(LATE, since=since)
        main = Held("SpinApp", "apps", "hello", "fn-abcdefghijkl", 1, written_at=NOW, conditions=(late,))
        return judge(function(), 1, Seen(main, (), frozenset())).state

    assert state(LATER) is DeploymentState.FAILED and state(NOW - timedelta(1)) is DeploymentState.STARTING


def test_pods_that_cannot_be_made() -> None:
    refused = Condition("ReplicaFailure", "True", "FailedCreate", "exceeded quota")
    verdict = judge(function(), 1, seen(conditions=(refused,)))
    assert verdict.message == "0 of 1 pod of revision 4 answer; the cluster makes no pods: exceeded quota."


def test_what_was_ready_and_serves_is_degraded() -> None:
    was = function(last_ready_revision=4)
    bad = pod(waiting="CrashLoopBackOff", ended=Ended(1), running=False, restarts=2)
    verdict = judge(was, 2, seen(bad, pod("hello-b"), answering=("hello-b",)))
    assert verdict.state is DeploymentState.DEGRADED
    assert verdict.message.endswith("It exited with code 1. It was started 2 times again (CrashLoopBackOff).")


def test_a_change_of_settings_alone_that_makes_no_progress_is_told() -> None:
    was = function(last_ready_revision=4)
    stuck = pod("hello-b", waiting="CreateContainerConfigError", running=False, message="no such account")
    verdict = judge(was, 1, seen(pod(), stuck, answering=("hello-a",), conditions=(LATE,)))
    assert (verdict.state, verdict.all_ready) == (DeploymentState.DEGRADED, False)
    assert "pod hello-b: its container cannot be started" in verdict.message
    verdict = judge(was, 1, seen(pod(), answering=("hello-a",), conditions=(LATE,)))
    assert verdict.message == "1 of 1 pod of revision 4 answer; what was changed last makes no progress."
    refused = Condition("ReplicaFailure", "True", "FailedCreate", "exceeded quota")
    verdict = judge(was, 1, seen(pod(), answering=("hello-a",), conditions=(LATE, refused)))
    assert verdict.message.endswith("the cluster makes no pods: exceeded quota.")


def test_what_was_ready_and_is_wholly_down_is_degraded() -> None:
    bad = pod(waiting="CrashLoopBackOff", ended=Ended(1), running=False, restarts=2)
    assert judge(function(last_ready_revision=4), 1, seen(bad)).state is DeploymentState.DEGRADED
    assert judge(function(last_ready_revision=3), 1, seen(bad)).state is DeploymentState.STARTING
    starts = pod(running=False, ready=False)
    assert judge(function(last_ready_revision=4), 1, seen(starts)).state is DeploymentState.STARTING


def test_rest() -> None:
    verdict = judge(function(last_ready_revision=4), 0, seen())
    assert verdict.state is DeploymentState.IDLE and verdict.all_ready


def rows(*pods: Pod, answering: tuple[str, ...] = (), known: tuple[Instance, ...] = ()) -> list[Instance]:
    answer = {f"uid-{name}" for name in answering}
    return instances_of(pods, answer, "c", {one.uid: one for one in known}, LATER)


def test_a_pod_is_an_instance_from_its_beginning_to_its_end() -> None:
    [starting] = rows(pod(running=False, address=""))
    assert starting.state is InstanceState.STARTING and starting.uid == instance_uid("uid-hello-a", 0)
    assert (starting.handle, starting.concurrency, starting.timeout_ms) == ("apps/hello-a@0@c", 10, 5000)
    [ready] = rows(pod(), answering=("hello-a",), known=(starting,))
    assert ready.state is InstanceState.READY and ready.address == "10.0.0.1:8080" and ready.ready_at == LATER
    assert rows(pod(), answering=("hello-a",), known=(ready,)) == []
    [draining] = rows(pod(ending=True), known=(ready,))
    assert draining.state is InstanceState.DRAINING and draining.message == ""
    [stopped] = rows(known=(draining,))
    assert stopped.state is InstanceState.STOPPED and stopped.ended_at == LATER
    assert rows(known=(stopped,)) == []


def test_a_pod_that_is_not_ready_for_a_while() -> None:
    [ready] = rows(pod(), answering=("hello-a",))
    [draining] = rows(pod(), known=(ready,))
    assert draining.state is InstanceState.DRAINING and "readiness" in draining.message
    assert rows(pod(), known=(draining,)) == []
    [again] = rows(pod(), answering=("hello-a",), known=(draining,))
    assert again.state is InstanceState.READY and again.uid == ready.uid and again.draining_at is None


def test_each_restart_is_an_instance_of_its_own() -> None:
    [ready] = rows(pod(), answering=("hello-a",))
    end = {"ended": Ended(137, "OOMKilled"), "running": False}
    [failed] = rows(pod(**end), known=(ready,))
    assert failed.state is InstanceState.FAILED and "OOMKilled" in failed.message
    assert rows(pod(**end), known=(failed,)) == []
    [fresh] = rows(pod(restarts=1, ended=Ended(137, "OOMKilled")), answering=("hello-a",), known=(failed,))
    assert fresh.state is InstanceState.READY and fresh.uid != ready.uid
    both = rows(pod(restarts=1, ended=Ended(137, "OOMKilled")), answering=("hello-a",), known=(ready,))
    assert {one.uid: one.state for one in both} == {
        ready.uid: InstanceState.FAILED, fresh.uid: InstanceState.READY,
    }  # fmt: skip


def test_a_pod_that_failed_before_anybody_saw_it_run() -> None:
    crashed = pod(ended=Ended(1), running=False)
    [starting] = rows(crashed)
    [failed] = rows(crashed, known=(starting,))
    assert failed.state is InstanceState.FAILED
    retired = replace(starting, retired="stuck")
    assert rows(known=(retired,))[0].message == "stuck"


def test_a_pod_that_is_over_and_stays_does_not_come_back() -> None:
    [ready] = rows(pod(), answering=("hello-a",))
    over = pod(phase="Failed", running=False, message="Evicted")
    [failed] = rows(over, known=(ready,))
    assert failed.state is InstanceState.FAILED and failed.message == "Evicted."
    assert rows(over) == [], "its row has been purged"


def test_who_rests() -> None:
    clock = FakeClock()
    activity = Activity(clock)
    resting = Resting(activity, clock)
    up = function(min_instances=0, last_ready_revision=4, idle_ttl_s=60.0, state=DeploymentState.READY)
    down = replace(up, state=DeploymentState.IDLE)
    assert not resting.rests(up) and resting.left_s(up) == 60
    clock.advance(61)
    assert resting.rests(up) and resting.left_s(up) == 0
    clock.advance(1)
    assert resting.rests(down) and resting.rests(replace(down, idle_ttl_s=3600.0))
    activity.used([down.uid])
    assert not resting.rests(down) and not resting.rests(replace(up, state=DeploymentState.STARTING))
    assert not resting.rests(replace(up, min_instances=1)) and resting.left_s(replace(up, min_instances=1)) is None


def test_who_asks_while_it_is_put_to_rest_is_heard() -> None:
    clock = FakeClock()
    activity = Activity(clock)
    resting = Resting(activity, clock)
    up = function(min_instances=0, last_ready_revision=4, idle_ttl_s=60.0, state=DeploymentState.READY)
    resting.rests(up)
    clock.advance(61)
    assert resting.rests(up)
    clock.advance(0.1)
    activity.used([up.uid])  # before its state is written
    clock.advance(0.1)
    assert not resting.rests(replace(up, state=DeploymentState.IDLE))
