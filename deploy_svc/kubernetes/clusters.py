"""The clusters there are, each opened when a function first belongs to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from deploy_svc.kubernetes.cluster import Cluster
from deploy_svc.kubernetes.credentials import Access, Source
from deploy_svc.kubernetes.transport import Transport
from deploy_svc.kubernetes.watching import Watching
from mesh.clock import Clock
from mesh.errors import FailedPrecondition


@dataclass(frozen=True)
class Opened:
    """A cluster that is watched."""

    cluster: Cluster
    watching: Watching


class Clusters:
    """One for each context. `changed` is called with each function whose objects changed, `works_again` when a cluster
    answers that did not.
    """

    def __init__(self, source: Source, mesh: str, clock: Clock, changed: Callable[[str], None]) -> None:
        self._source, self._mesh, self._clock, self._changed = source, mesh, clock, changed
        self._reached: dict[str, Cluster] = {}
        self._opened: dict[str, Opened] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self.works_again: Callable[[], None] = lambda: None

    @property
    def contexts(self) -> tuple[str, ...]:
        """Their names, the current one first."""
        return self._source.contexts

    @property
    def current(self) -> str:
        """The one of functions that name none; empty where they must."""
        return self._source.current

    def attach(self, tasks: asyncio.TaskGroup) -> None:
        """Watches belong to this group."""
        self._tasks = tasks

    def reach(self, context: str) -> Cluster:
        """A cluster to call. Raises FailedPrecondition (CONTEXT_UNKNOWN, CONTEXT_MISSING)."""
        known = ", ".join(self.contexts)
        if not context:
            raise FailedPrecondition(
                "CONTEXT_MISSING",
                f"The kubeconfig of deploy_svc has no current context, so the function must name one of: {known}.",
            )
        if context not in self.contexts:
            raise FailedPrecondition(
                "CONTEXT_UNKNOWN",
                f"deploy_svc knows no cluster by the context '{context}'; its kubeconfig has: {known}.",
            )
        if context not in self._reached:
            self._reached[context] = Cluster(Transport(Access(self._source, context, self._clock)))
        return self._reached[context]

    def open(self, context: str) -> Opened:
        """A cluster that is watched from now on. Raises as `reach` does."""
        opened = self._opened.get(context)
        if opened is None:
            cluster = self.reach(context)
            opened = self._opened[context] = Opened(
                cluster, Watching(cluster, self._mesh, self._changed, self.works_again)
            )
            if self._tasks is not None:
                self._tasks.create_task(opened.watching.run())
        return opened

    def known(self, context: str) -> Opened | None:
        """A cluster that has been opened."""
        return self._opened.get(context)

    async def close(self) -> None:
        """End all calls and streams."""
        for cluster in self._reached.values():
            await cluster.close()
