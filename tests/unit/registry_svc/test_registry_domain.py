"""Which revision serves after what."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fnmesh.registry.v1 import function_pb2, revision_pb2
from registry_svc import domain
from registry_svc.domain import DeploymentState, Function, Revision, RevisionState, Rollout, Spec

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def function(**fields: Any) -> Function:
    return Function("fn-a", "ws-a", Spec("a", "a"), NOW, NOW, **fields)


def revision(number: int, code: int | None = None, **fields: Any) -> Revision:
    return Revision(
        function_uid="fn-a",
        number=number,
        state=RevisionState.BUILT,
        code_number=code or number,
        create_time=NOW,
        runtime=domain.Runtime.PYTHON,
        target=domain.Target.PROCESS,
        **{"deploy": True, "run": domain.RunSettings()} | fields,
    )


@pytest.mark.parametrize(
    ("kind", "api", "prefix"),
    [
        (domain.Runtime, function_pb2.Runtime, "RUNTIME_"),
        (domain.Target, function_pb2.Target, "TARGET_"),
        (domain.EventFormat, function_pb2.EventFormat, "EVENT_FORMAT_"),
        (domain.Access, function_pb2.Access, "ACCESS_"),
        (domain.DeploymentState, function_pb2.DeploymentState, "DEPLOYMENT_STATE_"),
        (domain.RevisionState, revision_pb2.RevisionState, "REVISION_STATE_"),
        (domain.ArtifactKind, revision_pb2.ArtifactKind, "ARTIFACT_KIND_"),
    ],
)
def test_the_numbers_are_those_of_the_api(kind: type[IntEnum], api: Any, prefix: str) -> None:
    assert {prefix + one.name: int(one) for one in kind} == dict(api.items())


def test_methods_overlap() -> None:
    assert domain.methods_overlap((), ("GET",)) and domain.methods_overlap((), ())
    assert domain.methods_overlap(("GET", "PUT"), ("PUT",))
    assert not domain.methods_overlap(("GET",), ("PUT",))


@given(st.lists(st.integers(1, 9), max_size=70))
def test_rollbacks_walk_back_through_what_served(numbers: list[int]) -> None:
    one = function()
    for number in numbers:
        one = domain.serve(one, number)
    steps = 0
    while (back := domain.step_back(one)) is not None:
        assert back.serving == one.served[-2] and back.running
        one, steps = back, steps + 1
    assert steps <= domain.SERVED_LIMIT
    assert len(one.served) <= 1


def test_serving_the_same_again_changes_nothing() -> None:
    one = replace(domain.serve(function(), 1), deployment_state=DeploymentState.READY)
    assert domain.serve(one, 1) == one


def test_only_what_is_not_there_becomes_pending() -> None:
    wanted = domain.serve(function(), 1)
    assert wanted.deployment_state is DeploymentState.PENDING
    stopped = domain.stop(wanted)
    assert stopped.deployment_state is DeploymentState.STOPPED
    assert domain.serve(stopped, 1).deployment_state is DeploymentState.PENDING
    ready = replace(wanted, deployment_state=DeploymentState.READY)
    for after in (domain.serve(ready, 2), domain.stop(ready), domain.serve(domain.stop(ready), 1)):
        assert after.deployment_state is DeploymentState.READY


def test_new_settings_of_a_stopped_function_do_not_start_it() -> None:
    stopped = domain.stop(domain.serve(function(), 1))
    adopted = domain.adopt(stopped, 2)
    assert (adopted.serving, adopted.running) == (2, False)


@pytest.mark.parametrize(
    ("what", "built", "serving", "fields"),
    [
        (Rollout.SERVE, revision(1), None, {}),
        (Rollout.NONE, revision(1, deploy=False), None, {}),
        (Rollout.SERVE, revision(2), revision(1), {}),
        (Rollout.NONE, revision(1), revision(2), {}),
        (Rollout.NONE, revision(1), revision(3, code=2), {}),
        (Rollout.MERGE, revision(2), revision(3, code=1), {}),
        (Rollout.NONE, revision(2), revision(1), {"settled_number": 2}),
        (Rollout.SERVE, revision(3), revision(1), {"settled_number": 2}),
        (Rollout.MERGE, revision(1), None, {"outdated_number": 1}),
        (Rollout.SERVE, revision(2), None, {"outdated_number": 1}),
    ],
)
def test_what_a_finished_build_does(
    what: Rollout, built: Revision, serving: Revision | None, fields: dict[str, int]
) -> None:
    assert domain.rollout_after_build(function(**fields), built, serving) is what


def test_a_tombstone_has_no_secrets() -> None:
    run = domain.RunSettings({"A": "1"})
    gone = domain.delete(replace(function(running=True), spec=Spec("a", "a", run=run)), NOW)
    assert not gone.spec.run.env and not gone.running and gone.delete_time == NOW
    assert "'1'" not in repr(run)


def test_only_a_call_that_changes_what_should_run_is_remembered() -> None:
    before = function(serving=1, running=True, served=(1,), traceparent="first")

    assert domain.decided(before, domain.serve(before, 2), "second").traceparent == "second"
    assert domain.decided(before, domain.stop(before), "second").traceparent == "second"
    assert domain.decided(before, domain.delete(before, NOW), "second").traceparent == "second"
    assert domain.decided(before, replace(before, deployment_message="starting"), "second").traceparent == "first"


def test_what_became_a_secret_is_not_restored_as_env() -> None:
    run = domain.RunSettings(env={"TOKEN": "old", "GREETING": "hi"})

    back = domain.restore(function(), revision(1, run=run), {"TOKEN", "OTHER"})

    assert back.spec.run == domain.RunSettings(env={"GREETING": "hi"})
