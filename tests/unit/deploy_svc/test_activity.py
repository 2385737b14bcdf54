"""When functions were last asked for."""

from math import inf

from deploy_svc.activity import Activity
from mesh.clock import FakeClock


def test_what_runs_counts_as_used_when_first_seen() -> None:
    clock = FakeClock()
    activity = Activity(clock)
    assert activity.unused_s("fn-1", rests=False) == 0
    clock.advance(7)
    assert activity.unused_s("fn-1", rests=False) == 7
    activity.used(["fn-1"])
    assert activity.unused_s("fn-1", rests=False) == 0


def test_what_rests_goes_on_resting_until_it_is_asked_for() -> None:
    activity = Activity(FakeClock())
    assert activity.unused_s("fn-1", rests=True) == inf
    activity.used(["fn-1"])
    assert activity.unused_s("fn-1", rests=True) == 0
    activity.forget("fn-1")
    assert activity.unused_s("fn-1", rests=True) == inf
