"""Brings each function to where the registry wants it: reads, decides (`rollout`), and sets things going."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from deploy_svc.activity import Activity
from deploy_svc.clusters import Elsewhere
from deploy_svc.domain import (
    DeploymentState,
    Failures,
    Function,
    Instance,
    InstanceState,
    Policy,
    Target,
    drain_deadline,
)
from deploy_svc.ending import Ending
from deploy_svc.rollout import Decision, Situation, decide, step_aside
from deploy_svc.starting import Starting
from deploy_svc.store import Store
from deploy_svc.wakes import Wakes, WorkQueue
from deploy_svc.watchers import Watchers
from mesh import telemetry
from mesh.clock import Clock, Countdowns
from mesh.errors import DeadlineExceeded, Unavailable
from mesh.ids import new_id
from mesh.logs import get_logger
from mesh.loops import Backoff

log = get_logger(__name__)
_WORKERS = 4
_BACKOFF = Backoff(first_s=0.2, limit_s=10.0)


class Reconciler:
    """Works through a queue of function uids."""

    def __init__(
        self,
        store: Store,
        queue: WorkQueue,
        starting: Starting,
        ending: Ending,
        watchers: Watchers,
        activity: Activity,
        wakes: Wakes,
        reports: Wakes,
        clock: Clock,
        policy: Policy,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._store, self._queue = store, queue
        self._starting, self._ending = starting, ending
        self._watchers, self._wakes, self._reports = watchers, wakes, reports
        self._activity = activity
        self._clock, self._policy = clock, policy
        self._elsewhere = elsewhere
        self._failures: dict[str, int] = {}
        self._draining: set[str] = set()
        self._countdowns = Countdowns(clock)

    async def run(self) -> None:
        """Work until cancelled; begins with every function there is."""
        elsewhere = await self._elsewhere.begin() if self._elsewhere is not None else set()
        for uid in await self._store.function_uids():
            if uid not in elsewhere:
                self._queue.add(uid)
        async with asyncio.TaskGroup() as tasks:
            self._starting.attach(tasks)
            self._ending.attach(tasks)
            for instance in await self._store.uncleaned():
                self._ending.begin(instance, instance.state, instance.message)
            for _ in range(_WORKERS):
                tasks.create_task(self._work())

    async def _work(self) -> None:
        while True:
            uid = await self._queue.take()
            try:
                await self.reconcile(uid)
                self._failures.pop(uid, None)
            except Exception as error:
                self._failures[uid] = self._failures.get(uid, 0) + 1
                if isinstance(error, Unavailable | DeadlineExceeded):
                    log.info("reconcile_put_off", function=uid, reason=error.reason, why=error.message)
                else:
                    log.exception("reconcile_failed", error, function=uid)
                self._queue.add_later(uid, _BACKOFF.delay_s(self._failures[uid]))
            finally:
                self._queue.done(uid)

    def look_at_draining(self) -> None:
        """A watcher has left: look at the functions whose draining instances wait for one."""
        for uid in self._draining:
            self._queue.add(uid)

    async def reconcile(self, uid: str) -> None:
        """Look at one function once."""
        found = await self._store.situation(uid)
        if found is None:
            return
        function, slot, stored, failures = found
        now = self._clock.now()
        instances = [self._counted_down(instance) for instance in stored if instance.is_ours]
        if self._elsewhere is not None and await self._elsewhere.runs(function):
            self._elsewhere.look(uid)
            await self._step_aside(function, instances, now)
            return
        leaves = self._elsewhere is not None and self._elsewhere.is_placed(uid)
        if leaves:
            function = replace(function, last_ready_revision=_known_here(function))
        decision = self._decide(function, instances, failures, now)
        await self._end(function, instances, decision)
        await self._drain(instances, decision, now)
        with telemetry.within(function.traceparent if function.rolling_out else "", function.workspace):
            if decision.start:
                self._activity.used([uid])  # a new instance is given its time
            for revision in decision.start:
                self._starting.announce(function.uid, revision)
                instance = await self._store.add_instance(_new_instance(function, revision, now))
                self._starting.begin(instance, slot, function.wanted_instances)
            for instance in instances:
                if instance.state is InstanceState.STARTING and instance.uid not in decision.kill:
                    self._starting.begin(instance, slot, function.wanted_instances)
        await self._settle(function, decision, now)
        if self._elsewhere is not None and leaves:
            self._elsewhere.look(uid)  # it goes from there once it is ready here
        if decision.forget:
            self._activity.forget(uid)
        self._look_again(function, instances, decision, now)

    async def _step_aside(self, function: Function, instances: Sequence[Instance], now: datetime) -> None:
        """The function is on a cluster: what is left of it here goes as soon as it is ready there."""
        if not instances:
            return
        situation = self._situation(function, instances, {})
        decision = step_aside(situation, now)
        await self._end(function, instances, decision)
        await self._drain(instances, decision, now)
        self._look_again(function, instances, decision, now)

    def _decide(
        self, function: Function, instances: Sequence[Instance], failures: dict[int, Failures], now: datetime
    ) -> Decision:
        return decide(self._situation(function, instances, failures), now, self._policy)

    def _situation(self, function: Function, instances: Sequence[Instance], failures: dict[int, Failures]) -> Situation:
        draining = (i.uid for i in instances if i.state is InstanceState.DRAINING)
        released = frozenset(uid for uid in draining if self._watchers.have_released(uid))
        unused_s = self._activity.unused_s(function.uid, rests=function.state is DeploymentState.IDLE)
        return Situation(function, instances, released, failures, unused_s)

    def _counted_down(self, instance: Instance) -> Instance:
        """The instance with its deadline as it is whatever the clock did: a jump cuts no request off."""
        if instance.drain_deadline is None:
            return instance
        at_most_s = instance.timeout_ms / 1000 + self._policy.drain_extra_s
        due = self._countdowns.due(instance.uid, instance.drain_deadline, at_most_s=at_most_s)
        return replace(instance, drain_deadline=due)

    async def _end(self, function: Function, instances: Sequence[Instance], decision: Decision) -> None:
        for instance in instances:
            if instance.uid in decision.kill:
                self._countdowns.forget(instance.uid)
                await self._starting.cancel(instance.uid)
                replaced = instance.revision != function.revision or not function.wanted_instances
                with telemetry.within(function.traceparent if replaced else "", function.workspace):
                    self._ending.begin(instance, InstanceState.STOPPED, instance.retired)

    async def _drain(self, instances: Sequence[Instance], decision: Decision, now: datetime) -> None:
        for instance in instances:
            if instance.uid in decision.drain:
                deadline = drain_deadline(instance.timeout_ms, now, self._policy)
                fields = {"draining_at": now, "drain_deadline": deadline}
                await self._store.change_instance(instance.uid, InstanceState.DRAINING, **fields)
                self._wakes.notify()
                self._queue.add(instance.function_uid)

    async def _settle(self, function: Function, decision: Decision, now: datetime) -> None:
        ready = function.revision if decision.all_ready else 0
        told = await self._store.settle(
            function,
            decision.state,
            decision.message,
            ready_revision=ready,
            forgive=decision.forgive,
            now=now,
        )
        if told:
            log.info("deployment_changed", function=function.uid, state=decision.state, why=decision.message)
            self._wakes.notify()
        if told or decision.forget:
            self._reports.notify()

    def _look_again(self, function: Function, instances: Sequence[Instance], decision: Decision, now: datetime) -> None:
        if decision.look_again_at is not None:
            self._queue.add_later(function.uid, (decision.look_again_at - now).total_seconds() + 0.001)
        if not any(i.state is InstanceState.DRAINING for i in instances):
            self._draining.discard(function.uid)
            return
        self._draining.add(function.uid)
        wait_s = self._watchers.wait_s()
        if wait_s is not None:
            self._queue.add_later(function.uid, wait_s + 0.001)


def _known_here(function: Function) -> int:
    """The revision that has been ready, unless that was on a cluster, where it still is."""
    return function.last_ready_revision if function.was_ready else 0


def _new_instance(function: Function, revision: int, now: datetime) -> Instance:
    elsewhere = function.target is Target.KUBERNETES
    return Instance(
        uid=new_id("in-"),
        function_uid=function.uid,
        revision=revision,
        target=Target.PROCESS if elsewhere else function.target,  # its workload will tell
        state=InstanceState.STARTING,
        created_at=now,
    )
