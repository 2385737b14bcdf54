"""Which apps are scaled to zero: those that may be, once nobody has asked for them for long enough."""

from __future__ import annotations

from deploy_svc.activity import Activity
from deploy_svc.domain import DeploymentState, Function
from mesh.clock import Clock


class Resting:
    """Goes by what those who send requests tell. With autoscaling an app never rests."""

    def __init__(self, activity: Activity, clock: Clock) -> None:
        self._activity, self._clock = activity, clock
        self._since: dict[str, float] = {}

    def rests(self, function: Function) -> bool:
        """Whether a function should have no pods; one that has none goes on so until somebody asks for it."""
        if not _may_rest(function):
            return False
        uid, now, limit_s = function.uid, self._clock.monotonic(), function.idle_ttl_s
        idle = function.state is DeploymentState.IDLE
        if idle:
            limit_s = min(limit_s, now - self._since.get(uid, now - limit_s))
        rests = self._activity.unused_s(uid, rests=idle) >= limit_s
        if rests:
            self._since.setdefault(uid, now)
        else:
            self._since.pop(uid, None)
        return rests

    def left_s(self, function: Function) -> float | None:
        """After how long one that is up rests unless it is asked for; None for one that never does."""
        if not _may_rest(function):
            return None
        return max(0.0, function.idle_ttl_s - self._activity.unused_s(function.uid, rests=False))

    def forget(self, uid: str) -> None:
        """The function is gone."""
        self._since.pop(uid, None)


def _may_rest(function: Function) -> bool:
    return function.may_rest and not function.cluster.autoscaling
