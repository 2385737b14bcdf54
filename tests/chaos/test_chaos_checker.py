"""The checker can fail: each lie about a mesh is found, and the truth is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.chaos.checker import Answer, Observation, SeenFunction, violations
from tests.chaos.ledger import CALLS, CONTROL, Key, Ledger, calls_of


def _told() -> Ledger:
    """A client made a function, deployed it twice (the first build of a broken source), set a value, made two keys."""
    ledger = Ledger(seed=1)
    story = ledger.story("kept")
    story.created("fn-1")
    story.accepted(1, "builds/1", broken=True)
    story.ended["builds/1"] = "FAILED"
    story.asked_for(2)
    story.accepted(2, "builds/2")
    story.ended["builds/2"] = "DONE"
    story.greeted("hello")
    story.revisions |= {2, 3}
    gone = ledger.story("gone")
    gone.created("fn-2")
    gone.deleted()
    ledger.keys = {"k1": Key("k1"), "k2": Key("k2", revoked=True)}
    return ledger


def _there() -> Observation:
    """The mesh as it should be then."""
    kept = SeenFunction(
        uid="fn-1",
        builds={"builds/1": "FAILED", "builds/2": "DONE"},
        revisions={1: "FAILED", 2: "BUILT", 3: "BUILT"},
        serving=3,
        deployment="READY",
        instances={"in-1": "READY"},
        answer=Answer(200, 2, "hello"),
    )
    return Observation({"kept": kept}, {"k1": False, "k2": True}, ["in-1"], {"in-1"})


def test_the_truth_is_no_violation() -> None:
    assert violations(_told(), _there()) == []


LIES: dict[str, Callable[[Observation], object]] = {
    "was acknowledged and is not there": lambda seen: seen.functions.clear(),
    "is there as fn-9": lambda seen: setattr(seen.functions["kept"], "uid", "fn-9"),
    "was deleted and is there": lambda seen: seen.functions.update(gone=SeenFunction("fn-3")),
    "was deleted and is there again": lambda seen: seen.functions.update(gone=SeenFunction("fn-2")),
    "nobody asked for it": lambda seen: seen.functions.update(other=SeenFunction("fn-4")),
    "builds/2 was acknowledged": lambda seen: seen.functions["kept"].builds.pop("builds/2"),
    "has not ended: BUILDING": lambda seen: seen.functions["kept"].builds.update({"builds/2": "BUILDING"}),
    "builds/8 has not ended": lambda seen: seen.functions["kept"].builds.update({"builds/8": "PENDING"}),
    "was said to have ended DONE": lambda seen: seen.functions["kept"].builds.update({"builds/2": "FAILED"}),
    "revision 2 of kept": lambda seen: seen.functions["kept"].revisions.pop(2),
    "nothing serves": lambda seen: setattr(seen.functions["kept"], "serving", 0),
    "which is PENDING": lambda seen: seen.functions["kept"].revisions.update({3: "PENDING"}),
    "is deployed and DEGRADED": lambda seen: setattr(seen.functions["kept"], "deployment", "DEGRADED"),
    "not READY": lambda seen: seen.functions["kept"].instances.update({"in-1": "DRAINING"}),
    "does not answer: 503": lambda seen: setattr(seen.functions["kept"], "answer", Answer(503)),
    "does not answer: no answer": lambda seen: setattr(seen.functions["kept"], "answer", None),
    "serves edition 1": lambda seen: setattr(seen.functions["kept"], "answer", Answer(200, 1, "hello")),
    "has the greeting ''": lambda seen: setattr(seen.functions["kept"], "answer", Answer(200, 2, "")),
    "key k1 was acknowledged": lambda seen: seen.keys.pop("k1"),
    "key k1 was said to be good": lambda seen: seen.keys.update(k1=True),
    "key k2 was said to be revoked": lambda seen: seen.keys.update(k2=False),
    "in-2 runs, and no function has it": lambda seen: seen.workloads.append("in-2"),
    "in-1 runs 2 times": lambda seen: seen.workloads.append("in-1"),
    "in-1 is said to be there": lambda seen: seen.workloads.clear(),
    "has left a directory": lambda seen: seen.records.add("in-0"),
    "process 7 is left": lambda seen: seen.strangers.append("process 7 is left"),
}


@pytest.mark.parametrize("found", LIES)
def test_every_lie_is_found(found: str) -> None:
    seen = _there()
    LIES[found](seen)

    assert any(found in one for one in violations(_told(), seen)), violations(_told(), seen)


def test_what_was_not_answered_may_be_there_or_not() -> None:
    ledger, with_it, without = Ledger(seed=1), Observation(), Observation()
    story = ledger.story("maybe")
    story.asked_for(5)
    story.maybe_greetings.add("new")
    with_it.functions["maybe"] = SeenFunction(
        "fn-1", {"builds/5": "DONE"}, {1: "BUILT"}, 1, "READY", {"in-1": "READY"}, Answer(200, 5, "new")
    )
    with_it.workloads, with_it.records = ["in-1"], {"in-1"}

    assert violations(ledger, without) == []
    assert violations(ledger, with_it) == []
    with_it.functions["maybe"].answer = Answer(200, 4, "new")
    assert len(violations(ledger, with_it)) == 1


def test_a_good_source_must_not_end_failed_nor_a_broken_one_done() -> None:
    for broken, state in ((False, "FAILED"), (True, "DONE"), (False, "CANCELLED")):
        ledger, seen = Ledger(seed=1), Observation()
        ledger.story("x").created("fn-1")
        ledger.story("x").accepted(1, "builds/1", broken=broken)
        seen.functions["x"] = SeenFunction("fn-1", {"builds/1": state}, serving=0)
        assert any(f"ended {state}" in one for one in violations(ledger, seen))


def test_failures_are_explained_by_what_was_done_at_the_time_to_what_they_need() -> None:
    ledger = Ledger(seed=1)
    ledger.failed(calls_of("f"), "GET /api/f", "503", 0.0)
    with ledger.disturbance("kill -9 deploy", (CONTROL,)) as deploy:
        ledger.failed(CONTROL, "deploy f", "UNAVAILABLE", deploy.began)
        ledger.failed(calls_of("f"), "GET /api/f", "504", deploy.began)
    with ledger.disturbance("kill -9 invoke", (CALLS,)) as invoke:
        ledger.failed(calls_of("f"), "GET /api/f", "502", invoke.began)
        ledger.failed(calls_of("f"), "GET /api/f", "the answer of another request", invoke.began, excusable=False)
    with ledger.disturbance("kill -9 instance of f", (calls_of("f"),)) as workload:
        ledger.failed(calls_of("f"), "GET /api/f", "RemoteProtocolError", workload.began)
        ledger.failed(calls_of("f2"), "GET /api/f2", "RemoteProtocolError", workload.began)

    unexplained = [failure.how for failure in ledger.unexplained()]

    assert unexplained == ["503", "504", "the answer of another request", "RemoteProtocolError"]
    assert [failure.kind for failure in ledger.unexplained()][-1] == calls_of("f2")
    assert len(violations(ledger, Observation())) == 4


def test_a_failure_before_or_after_is_not_explained() -> None:
    ledger = Ledger(seed=1)
    with ledger.disturbance("kill -9 envoy", (CALLS,)) as one:
        pass
    one.began, one.ended = 10.0, 11.0
    failure = (calls_of("f"), "GET /api/f", "503")

    for began, ended, explained in ((5, 9, False), (5, 10.5, True), (10.5, 12, True), (11.5, 12, False)):
        ledger.failures.clear()
        ledger.failed(*failure, began)
        ledger.failures[0] = type(ledger.failures[0])(*failure, began, ended)
        assert (ledger.unexplained() == []) is explained, (began, ended)


def test_the_timeline_tells_a_failure_that_comes_again_once() -> None:
    ledger = Ledger(seed=1)
    ledger.note("kill -9 envoy")
    for _ in range(5):
        ledger.failed(CONTROL, "make a key", "UNAVAILABLE", 0.0)

    assert len(ledger.failures) == 5
    assert ledger.timeline().count("make a key") == 1
    assert "(5 times" in ledger.timeline()
