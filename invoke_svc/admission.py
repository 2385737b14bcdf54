"""Which instance takes a request, and who waits for one.

Every instance takes so many requests at once and no more; a request for which there is no room waits in its
function's queue, first come, first served. A queue is bounded, and so are all of them together. Everything here
happens in one event loop without awaiting, except the waiting itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from invoke_svc.domain import (
    InstanceState,
    Route,
    deployment_failed,
    function_unknown,
    no_room,
    nothing_ready,
    queue_full,
    unavailable_reason,
)
from invoke_svc.pool import ConnectionPool

AVOID_UNREACHABLE_S = 0.1
AVOID_REFUSING_S = 0.01
AVOID_SILENT_S = 10.0  # by then it is replaced, on a slow machine too; or nobody replaces it now


@dataclass(frozen=True)
class QueueLimits:
    """How many requests wait, and how long for an instance to become ready."""

    per_function: int = 1000
    in_all: int = 4000
    cold_start_s: float = 30.0


class Instance:
    """An instance and the requests it has from here."""

    __slots__ = ("avoided", "inflight", "pool", "refusing", "state")

    def __init__(self, state: InstanceState) -> None:
        self.state = state
        self.inflight = 0
        self.refusing = False
        self.avoided: asyncio.TimerHandle | None = None
        self.pool = ConnectionPool(state.address)

    @property
    def has_room(self) -> bool:
        return self.ready and not self.refusing and self.inflight < self.state.concurrency

    @property
    def ready(self) -> bool:
        return self.state.accepting and self.avoided is None


class _Function:
    __slots__ = ("instances", "used", "waiters", "waiting")

    def __init__(self) -> None:
        self.used = False
        self.instances: dict[str, Instance] = {}
        self.waiters: deque[tuple[asyncio.Future[Instance], int]] = deque()
        self.waiting = 0

    @property
    def ready(self) -> bool:
        return any(one.ready for one in self.instances.values())

    def roomiest(self, revision: int) -> Instance | None:
        """The instance with room that has the fewest requests, of the wanted revision where there is one."""
        best: Instance | None = None
        best_rank = (True, 0)
        for one in self.instances.values():
            if one.has_room:
                rank = (one.state.revision != revision, one.inflight)
                if best is None or rank < best_rank:
                    best, best_rank = one, rank
        return best


class Admission:
    """The instances of all functions, and the requests that wait for them.

    `on_released` is called with the identifier of an instance that takes no new requests and has none left,
    `on_cold` with that of a function for which a request waits and no instance is ready.
    """

    def __init__(self, limits: QueueLimits, on_released: Callable[[str], None] = lambda _: None) -> None:
        self._limits = limits
        self.on_released = on_released
        self.on_cold: Callable[[str], None] = lambda _: None
        self._functions: dict[str, _Function] = {}
        self._instances: dict[str, Instance] = {}
        self.waiting = 0
        self.inflight = 0

    # --- requests ---

    def try_acquire(self, route: Route) -> Instance | None:
        """Room on an instance, at once; None where the request has to wait()."""
        function = self._functions.get(route.uid)
        if function is None or function.waiting:
            return None
        instance = function.roomiest(route.revision)
        if instance is not None:
            function.used = True
            instance.inflight += 1
            self.inflight += 1
        return instance

    def is_cold(self, route: Route) -> bool:
        """Whether a request that comes now has to wait for an instance to become ready."""
        function = self._functions.get(route.uid)
        return function is None or not function.ready

    def patience_s(self, route: Route, limit_s: float) -> float:
        """How long a request with that time limit may wait; longer where an instance has to be started first."""
        return max(limit_s, self._limits.cold_start_s) if self.is_cold(route) else limit_s

    async def wait(self, route: Route, limit_s: float) -> Instance:
        """Room on an instance, when there is some, within `limit_s`.

        Raises NotDeployed and Unavailable (DEPLOYMENT_FAILED) where waiting makes no sense, ResourceExhausted
        (QUEUE_FULL), Unavailable (NO_INSTANCE) and DeadlineExceeded (TIMEOUT).
        """
        function = self._functions.setdefault(route.uid, _Function())
        self._refuse_pointless(route, function)
        if function.waiting >= self._limits.per_function or self.waiting >= self._limits.in_all:
            raise queue_full()
        future: asyncio.Future[Instance] = asyncio.get_running_loop().create_future()
        function.waiters.append((future, route.revision))
        function.used = True
        function.waiting += 1
        self.waiting += 1
        self._serve_waiters(function)
        if not function.ready:
            self.on_cold(route.uid)
        try:
            async with asyncio.timeout(limit_s):
                return await future
        except TimeoutError:
            self._give_back(future)
            raise (no_room(limit_s) if function.ready else nothing_ready()) from None
        except asyncio.CancelledError:
            self._give_back(future)
            raise
        finally:
            function.waiting -= 1
            self.waiting -= 1

    def _refuse_pointless(self, route: Route, function: _Function) -> None:
        if not route.revision:
            raise unavailable_reason(route) or function_unknown(route.name)
        if route.failure and not function.ready:
            raise deployment_failed(route.failure)

    def _give_back(self, future: asyncio.Future[Instance]) -> None:
        """Returns the room that a waiter got in the moment in which it gave up."""
        if future.done() and not future.cancelled() and future.exception() is None:
            self.release(future.result())

    def release(self, instance: Instance) -> None:
        """A request has ended there: the next one in the queue gets its room."""
        instance.inflight -= 1
        self.inflight -= 1
        function = self._functions.get(instance.state.function_uid)
        if function is not None and function.waiting:
            self._serve_waiters(function)
        if not instance.inflight and not instance.state.accepting:
            self._released(instance)

    def avoid_unreachable(self, instance: Instance) -> None:
        """Nobody listens there: it counts as not ready for a moment. Its end is for deploy_svc to find out."""
        self._avoid(instance, AVOID_UNREACHABLE_S)

    def avoid_silent(self, instance: Instance) -> None:
        """It answers nothing any more and is about to be replaced: the next requests wait for what replaces it."""
        self._avoid(instance, AVOID_SILENT_S)

    def _avoid(self, instance: Instance, moment_s: float) -> None:
        """For that long, or for longer where that was said before."""
        loop = asyncio.get_running_loop()
        if instance.avoided is not None:
            if instance.avoided.when() >= loop.time() + moment_s:
                return
            instance.avoided.cancel()
        instance.avoided = loop.call_later(moment_s, self._avoided_enough, instance)

    def _avoided_enough(self, instance: Instance) -> None:
        instance.avoided = None
        self._room_at(instance)

    def avoid_refusing(self, instance: Instance) -> None:
        """It has no room although it should have (another process sends there too): nothing for a moment."""
        if not instance.refusing:
            instance.refusing = True
            asyncio.get_running_loop().call_later(AVOID_REFUSING_S, self._refuses_no_more, instance)

    def _refuses_no_more(self, instance: Instance) -> None:
        instance.refusing = False
        self._room_at(instance)

    def _room_at(self, instance: Instance) -> None:
        function = self._functions.get(instance.state.function_uid)
        if function is not None:
            self._serve_waiters(function)

    def _serve_waiters(self, function: _Function) -> None:
        while function.waiters:
            future, revision = function.waiters[0]
            if future.done():
                function.waiters.popleft()
                continue
            instance = function.roomiest(revision)
            if instance is None:
                return
            function.waiters.popleft()
            instance.inflight += 1
            self.inflight += 1
            future.set_result(instance)

    def waits_cold(self, uid: str) -> bool:
        """Whether a request waits for the function, and none of its instances is ready."""
        function = self._functions.get(uid)
        return function is not None and function.waiting > 0 and not function.ready

    def take_used(self) -> list[str]:
        """Functions that had requests since this was last asked, or have some now."""
        used = []
        for uid, function in self._functions.items():
            if function.used or function.waiting or any(one.inflight for one in function.instances.values()):
                function.used = False
                used.append(uid)
        return used

    # --- what the registry and deploy_svc say ---

    def route_changed(self, uid: str, route: Route | None) -> None:
        """Sends waiting requests away where waiting makes no sense any more."""
        function = self._functions.get(uid)
        if function is None:
            return
        error = unavailable_reason(route)
        if error is not None and not (route and route.revision and function.ready):
            for future, _ in function.waiters:
                if not future.done():
                    future.set_exception(unavailable_reason(route) or error)
            function.waiters.clear()
        if route is None and not function.instances and not function.waiting:
            del self._functions[uid]

    def put(self, state: InstanceState) -> None:
        """An instance came, changed or drains. An older version than the known one is ignored."""
        instance = self._instances.get(state.uid)
        if instance is None:
            instance = self._instances[state.uid] = Instance(state)
            self._functions.setdefault(state.function_uid, _Function()).instances[state.uid] = instance
        elif instance.state.version > state.version:
            return
        elif instance.state.address != state.address or (state.accepting and not instance.state.accepting):
            instance.pool.close()
            instance.pool = ConnectionPool(state.address)
        instance.state = state
        if state.accepting:
            self._serve_waiters(self._functions[state.function_uid])
        elif not instance.inflight:
            self._released(instance)

    def remove(self, uid: str) -> None:
        """An instance is gone. Requests that it still has end as they may."""
        instance = self._instances.pop(uid, None)
        if instance is None:
            return
        instance.pool.close()
        function = self._functions[instance.state.function_uid]
        function.instances.pop(uid, None)
        if not function.instances and not function.waiting:
            del self._functions[instance.state.function_uid]

    def keep_only(self, uids: Iterable[str]) -> None:
        """Forgets all instances but these."""
        for uid in set(self._instances) - set(uids):
            self.remove(uid)

    def _released(self, instance: Instance) -> None:
        instance.pool.close()
        self.on_released(instance.state.uid)
