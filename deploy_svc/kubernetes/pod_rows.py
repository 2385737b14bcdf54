"""Keeps the rows of instances that are pods, and has their logs read."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

from deploy_svc.domain import Instance, InstanceState
from deploy_svc.kubernetes.app_store import AppStore
from deploy_svc.kubernetes.clusters import Clusters
from deploy_svc.kubernetes.names import parse_handle
from deploy_svc.kubernetes.pods import instances_of
from deploy_svc.log_collector import LogCollector
from deploy_svc.wakes import Wakes
from mesh.clock import Clock
from mesh.logs import get_logger

log = get_logger(__name__)


class PodRows:
    """Writes what is seen."""

    def __init__(self, store: AppStore, clusters: Clusters, logs: LogCollector, changes: Wakes, clock: Clock) -> None:
        self._store, self._clusters, self._logs = store, clusters, logs
        self._changes, self._clock = changes, clock
        self._handles: dict[str, str] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def handle_of(self, instance: str) -> str:
        """Where an instance is; empty for one that ended and whose log has been read."""
        return self._handles.get(instance, "")

    def attach(self, tasks: asyncio.TaskGroup) -> None:
        """Reading the last of logs belongs to this group."""
        self._tasks = tasks

    async def sync(self, function: str, contexts: Collection[str], known: Sequence[Instance]) -> list[Instance]:
        """Bring the rows of a function's pods, which `known` are, up to date. Returns the live ones.

        Of a cluster that does not answer nothing is concluded: its rows stay as they are.
        """
        rows = {one.uid: one for one in known}
        while changed := self._changed(function, contexts, rows):
            await self._store.write(function, changed)
            self._changes.notify()
            for one in changed:
                before, rows[one.uid] = rows.get(one.uid), one
                self._tell(one, before)
        live = [one for one in rows.values() if one.live]
        for one in live:
            self._handles[one.uid] = one.handle
            self._logs.follow(one)
        return live

    def _changed(self, function: str, contexts: Collection[str], rows: Mapping[str, Instance]) -> list[Instance]:
        changed: list[Instance] = []
        for context in contexts:
            own = {uid: one for uid, one in rows.items() if parse_handle(one.handle)[3] == context}
            if context not in self._clusters.contexts:  # nobody can tell any more whether they are there
                changed += instances_of((), (), context, own, self._clock.now())
                continue
            opened = self._clusters.known(context)
            if opened is None or not opened.watching.knows_pods:
                continue
            pods = opened.watching.pods(function)
            answering = {one.uid for one in pods if opened.watching.takes_requests(one)}
            changed += instances_of(pods, answering, context, own, self._clock.now())
        return changed

    def _tell(self, now: Instance, before: Instance | None) -> None:
        if before is None:
            self._handles[now.uid] = now.handle
            self._logs.follow(now)
            shown = now.handle.partition("@")[0]
            self._logs.say(now, f"Started revision {now.revision} (kubernetes {shown}).")
        if now.state is InstanceState.READY and (before is None or before.state is not InstanceState.READY):
            log.info("instance_ready", instance=now.uid, function=now.function_uid)
        if not now.live:
            self._logs.say(now, now.message or "Stopped.")
            log.info("instance_ended", instance=now.uid, state=now.state, message=now.message)
            if self._tasks is not None:
                self._tasks.create_task(self._finish(now.uid))

    async def _finish(self, instance: str) -> None:
        try:
            await self._logs.finish(instance)
        except Exception as error:
            log.exception("log_not_finished", error, instance=instance)
        self._handles.pop(instance, None)
