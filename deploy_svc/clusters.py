"""Whether this mesh deploys to clusters. What does is imported only then: the client of Kubernetes is large."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from deploy_svc.activity import Activity
from deploy_svc.domain import Function, Target
from deploy_svc.log_collector import LogCollector
from deploy_svc.ports import Registry, TargetHealth, Written
from deploy_svc.settings import DeploySettings
from deploy_svc.store import Store
from deploy_svc.usage.meters import Meter
from deploy_svc.wakes import Wakes
from mesh.clock import Clock
from mesh.db import Database
from mesh.errors import FailedPrecondition, MeshError
from mesh.logs import get_logger

log = get_logger(__name__)
WHAT_TO_SET = (
    "No Kubernetes cluster is configured: set FNMESH_DEPLOY_KUBECONFIG (or KUBECONFIG) for deploy_svc, and start it "
    "again."
)


@dataclass(frozen=True, slots=True)
class Around:
    """What functions on clusters need of the rest of deploy_svc. `requeue` has its reconciler look at a function."""

    store: Store
    registry: Registry
    activity: Activity
    changes: Wakes
    reports: Wakes
    clock: Clock
    requeue: Callable[[str], None]


class Elsewhere(Protocol):
    """Who runs functions that this mesh runs no instances of."""

    async def runs(self, function: Function) -> bool:
        """Whether a function belongs there, or only has to be taken away from there.

        Raises Unavailable or DeadlineExceeded where that cannot be told now.
        """
        ...

    async def begin(self) -> set[str]:
        """Functions that are there as they should be, with nothing left here: they are looked at there, and need not be
        here.
        """
        ...

    def is_placed(self, uid: str) -> bool:
        """Whether there may be anything of a function there."""
        ...

    def look(self, uid: str) -> None:
        """Look at a function as soon as possible: something of it may have changed."""
        ...


class ClusterHealth(Protocol):
    """The target as people see it."""

    @property
    def contexts(self) -> Sequence[str]:
        """What functions may name, the default first."""
        ...

    @property
    def meters(self) -> Sequence[Meter]:
        """Who measures what pods use."""
        ...

    async def check(self) -> TargetHealth:
        """Whether it can be deployed to now, and where not why."""
        ...

    async def close(self) -> None:
        """End all calls and streams."""
        ...

    async def ask(self, context: str, namespace: str, objects: Sequence[Mapping[str, Any]]) -> None:
        """Raises why a cluster would not take objects; changes nothing there."""
        ...


class ClusterTarget(ClusterHealth, Written, Protocol):
    """The target with the logs of its pods."""


class OnClusters(Protocol):
    """The target, who brings functions there, and the loop of the latter."""

    @property
    def target(self) -> ClusterTarget:
        """The target."""
        ...

    @property
    def apps(self) -> Elsewhere:
        """Who brings functions there."""
        ...

    def run(self) -> Coroutine[Any, Any, None]:
        """Until cancelled."""
        ...


class NoClusters:
    """The target where there is no cluster to deploy to."""

    target = Target.KUBERNETES
    contexts: Sequence[str] = ()
    meters: Sequence[Meter] = ()

    def __init__(self, why: str = WHAT_TO_SET) -> None:
        self._why = why

    async def check(self) -> TargetHealth:
        """Never."""
        return TargetHealth(False, self._why)

    async def close(self) -> None:
        """There is nothing."""

    async def ask(self, context: str, namespace: str, objects: Sequence[Mapping[str, Any]]) -> None:
        """Raises FailedPrecondition (TARGET_UNAVAILABLE)."""
        raise FailedPrecondition("TARGET_UNAVAILABLE", self._why)


def open_clusters(
    settings: DeploySettings, database: Database, around: Around, logs: LogCollector
) -> OnClusters | NoClusters:
    """The clusters of the settings, of KUBECONFIG, or the one that this process is on."""
    if not any((settings.deploy_kubeconfig, os.environ.get("KUBECONFIG"), os.environ.get("KUBERNETES_SERVICE_HOST"))):
        return NoClusters()
    from deploy_svc.kubernetes import wiring

    try:
        return wiring.open_clusters(settings, database, around, logs)
    except MeshError as error:
        log.warning("clusters_not_opened", reason=error.reason, why=error.message)
        return NoClusters(error.message)
