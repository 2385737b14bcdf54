"""Brings functions on clusters to where the registry wants them: looks, judges, and writes what differs.

The unit is the app. Which pods there are, when one is replaced and where it runs is Kubernetes' work, and so what is
decided here may be decided anew at any time: the state is on the cluster.
"""

from __future__ import annotations

import asyncio
from typing import Any

from deploy_svc.clusters import Around
from deploy_svc.domain import Function, Instance, Target, Workload
from deploy_svc.kubernetes.again import Again
from deploy_svc.kubernetes.app_spec import Defaults, Place, app_of, place_of
from deploy_svc.kubernetes.app_store import AppStore, Situation
from deploy_svc.kubernetes.applying import Applying, Plan, plan_of, there_is
from deploy_svc.kubernetes.clusters import Clusters, Opened
from deploy_svc.kubernetes.kinds import POD
from deploy_svc.kubernetes.manifests import Manifest, Options, render
from deploy_svc.kubernetes.names import parse_handle
from deploy_svc.kubernetes.places import Places
from deploy_svc.kubernetes.pod_rows import PodRows
from deploy_svc.kubernetes.resting import Resting
from deploy_svc.kubernetes.rollout import Seen, Verdict, has_settled, judge, of_error
from deploy_svc.wakes import WorkQueue
from mesh import telemetry
from mesh.errors import DeadlineExceeded, MeshError, Unavailable
from mesh.logs import get_logger

log = get_logger(__name__)
_WORKERS = 8
_SOON_S = 1.0
_CLEAN_UP_S = 60.0
_SILENT = (Unavailable, DeadlineExceeded)


class _ElsewhereError(Exception):
    """The revision was built for another target."""


class Apps:
    """Works through a queue of functions that are on clusters, or were, or shall be."""

    def __init__(
        self,
        around: Around,
        queue: WorkQueue,
        clusters: Clusters,
        app_store: AppStore,
        rows: PodRows,
        defaults: Defaults,
        options: Options,
        mesh: str,
    ) -> None:
        self._a, self._queue, self._clusters = around, queue, clusters
        self._app_store, self._rows = app_store, rows
        self._defaults, self._options, self._mesh = defaults, options, mesh
        self._places = Places(mesh, app_store, rows, clusters, self._left)
        self._applying = Applying(mesh, self._places.add)
        self._targets: dict[str, tuple[int, Target]] = {}
        self._plans: dict[str, Plan] = {}
        self._first: dict[str, Situation] = {}  # as it was at the start, until it is looked at
        self._resting = Resting(around.activity, around.clock)
        self._again = Again(queue, around.clock)
        clusters.works_again = self._again.look_at_failed

    async def run(self) -> None:
        """Work until cancelled; what there is to look at, the reconciler says."""
        await self._places.load()
        try:
            async with asyncio.TaskGroup() as tasks:
                self._clusters.attach(tasks)
                self._rows.attach(tasks)
                for _ in range(_WORKERS):
                    tasks.create_task(self._work())
        finally:
            await self._clusters.close()

    async def begin(self) -> set[str]:
        """Look at functions with which nobody else has anything to do, and tell which these are."""
        self._first = await self._app_store.at_home()
        at_home = set(self._first)
        for uid in at_home:
            self._queue.add(uid)
        return at_home

    def look(self, uid: str) -> None:
        """Look at a function as soon as possible: its rows may have changed."""
        self._first.pop(uid, None)
        self._queue.add(uid)

    def is_placed(self, uid: str) -> bool:
        """Whether there may be anything of a function on a cluster."""
        return bool(self._places.of(uid))

    async def runs(self, function: Function) -> bool:
        """Whether a function belongs on a cluster, or only has to be taken off one.

        Raises Unavailable or DeadlineExceeded where only the registry could tell, and does not.
        """
        await self._places.loaded.wait()
        if not function.wanted_instances:
            return self.is_placed(function.uid)
        revision, target = self._targets.get(function.uid, (0, None))
        if revision != function.revision:
            if function.target is Target.KUBERNETES and self.is_placed(function.uid) and function.was_ready:
                return True
            try:
                target = (await self._workload(function)).target
            except _SILENT:  # a guess takes something away unless all that is known says the same
                if self.is_placed(function.uid) is not (function.target is Target.KUBERNETES):
                    raise
                target = function.target
            except MeshError:  # whoever starts the revision is told of it
                target = function.target
        return target is Target.KUBERNETES

    async def _work(self) -> None:
        while True:
            uid = await self._queue.take()
            try:
                await self.reconcile(uid)
            except Exception as error:
                log.exception("app_reconcile_failed", error, function=uid)
                self._again.failed(uid, error)
            finally:
                self._queue.done(uid)

    async def reconcile(self, uid: str) -> None:
        """Look at one function once."""
        found = self._first.pop(uid, None) or await self._app_store.situation(uid)
        if found is None:
            self._plans.pop(uid, None)
            self._targets.pop(uid, None)
            for one in (self._places, self._resting, self._again):
                one.forget(uid)
            return
        function, known = found
        place = place_of(function.cluster, self._defaults)
        contexts = {one.context for one in self._places.of(uid)}
        try:
            serves = bool(function.wanted_instances) and await self.runs(function)
        except _SILENT as error:
            await self._rows.sync(uid, contexts, known)  # pods come and go whatever the registry does
            log.info("app_not_brought", function=uid, reason=error.reason, why=error.message)
            self._again.failed(uid, error)
            return
        live = await self._rows.sync(uid, contexts | ({place.context} if serves else set()), known)
        try:
            if serves:
                await self._serve(function, place, live)
            elif not function.wanted_instances or (has_settled(function)):
                await self._leave(uid, self._places.of(uid))
            self._again.succeeded(uid)
        except _ElsewhereError:
            self._a.requeue(uid)
        except MeshError as error:
            log.info("app_not_brought", function=uid, reason=error.reason, why=error.message)
            if serves:
                await self._settle(function, of_error(error, function))
            elif not function.wanted_instances:
                await self._settle(function, Verdict(function.state, error.message))
            self._again.failed(uid, error)

    async def _serve(self, function: Function, place: Place, live: list[Instance]) -> None:
        uid, opened = function.uid, self._clusters.open(place.context)
        resting = self._resting.rests(function)
        objects: list[Manifest] | None = None
        plan, made_of = self._plans.get(uid), (function.version, function.revision, resting)
        if plan is None or plan.made_of != made_of:
            plan, objects = await self._render(function, place, made_of, resting=resting)
        await opened.watching.ready(plan.kind)
        there = there_is(opened, uid, place.namespace)
        if plan.stale(there):
            if any(one.ending for one in there.values()):
                self._again.later(uid, _SOON_S)  # what was removed is not gone yet
                return
            if objects is None:
                plan, objects = await self._render(function, place, made_of, resting=resting)
            with telemetry.within(function.traceparent if function.rolling_out else "", function.workspace):
                await self._applying.apply(opened, uid, plan, objects, there)
        await self._follow(function, opened, plan, live, resting=resting)

    async def _follow(
        self, function: Function, opened: Opened, plan: Plan, live: list[Instance], *, resting: bool
    ) -> None:
        """Judge what there is now, and clean up behind a rollout that is over."""
        uid = function.uid
        watching, namespace = opened.watching, plan.place.namespace
        pods = [one for one in watching.pods(uid) if one.namespace == namespace]
        staying = sum(not (one.ending or one.over) for one in pods)
        if plan.scaled_apart:
            await self._applying.scale_apart(opened, plan, staying)
        answering = frozenset(one.uid for one in pods if watching.takes_requests(one))
        main = there_is(opened, uid, namespace).get(plan.main)
        verdict = judge(function, 0 if resting else plan.replicas, Seen(main, pods, answering))
        await self._settle(function, verdict)
        await self._replace_retired(uid, opened, live)
        if verdict.all_ready:
            await self._clean_up(function, opened, plan)
        elif plan.scaled_apart and not staying:
            self._again.later(uid, _SOON_S)  # the operator has not made the Deployment yet
        left_s = None if resting else self._resting.left_s(function)
        if left_s is not None:
            self._again.later(uid, max(_SOON_S, left_s) + 0.01)

    async def _clean_up(self, function: Function, opened: Opened, plan: Plan) -> None:
        """Remove what a rollout that is over has left behind. That this fails says nothing about what serves."""
        try:
            await self._applying.tidy(opened, function.uid, plan)
            await self._leave(function.uid, self._places.of(function.uid) - {plan.place})
        except MeshError as error:
            log.warning("app_not_cleaned_up", function=function.uid, reason=error.reason, why=error.message)
            self._again.later(function.uid, _CLEAN_UP_S)

    async def _render(
        self, function: Function, place: Place, made_of: tuple[Any, ...], *, resting: bool
    ) -> tuple[Plan, list[Manifest]]:
        workload = await self._workload(function)
        if workload.target is not Target.KUBERNETES:
            raise _ElsewhereError
        app = app_of(function, workload, place, self._mesh, resting=resting)
        objects = render(app, self._options)
        plan = self._plans[function.uid] = plan_of(app, place, objects, made_of)
        return plan, objects

    async def _workload(self, function: Function) -> Workload:
        workload = await self._a.registry.workload(function.uid, function.revision)
        self._targets[function.uid] = (function.revision, workload.target)
        return workload

    async def _leave(self, uid: str, places: frozenset[Place]) -> None:
        if not await self._places.leave(uid, places):
            self._again.later(uid, _SOON_S)

    def _left(self, uid: str) -> None:
        self._a.requeue(uid)
        self._a.reports.notify()

    async def _replace_retired(self, uid: str, opened: Opened, live: list[Instance]) -> None:
        """Have pods replaced whose instances shall get no requests any more."""
        names = {one.key for one in opened.watching.pods(uid) if not one.ending}
        for one in live:
            namespace, pod, _, context = parse_handle(one.handle)
            if one.retired and context == opened.cluster.context and (namespace, pod) in names:
                await opened.cluster.delete(POD, namespace, pod)

    async def _settle(self, function: Function, verdict: Verdict) -> None:
        a = self._a
        ready = function.revision if verdict.all_ready else 0
        told = await a.store.settle(
            function, verdict.state, verdict.message, ready_revision=ready, forgive=(), now=a.clock.now()
        )
        if told:
            log.info("deployment_changed", function=function.uid, state=verdict.state, why=verdict.message)
            a.changes.notify()
            a.reports.notify()
            a.requeue(function.uid)  # what ran elsewhere may go now
