"""Puts the Kubernetes target together."""

from __future__ import annotations

import os
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from deploy_svc.clusters import Around
from deploy_svc.kubernetes.app_spec import Defaults
from deploy_svc.kubernetes.app_store import AppStore
from deploy_svc.kubernetes.apps import Apps
from deploy_svc.kubernetes.clusters import Clusters
from deploy_svc.kubernetes.credentials import find_source
from deploy_svc.kubernetes.names import mesh_label
from deploy_svc.kubernetes.pod_logs import PodLogs
from deploy_svc.kubernetes.pod_rows import PodRows
from deploy_svc.kubernetes.rendering import options_of
from deploy_svc.kubernetes.target import KubernetesTarget
from deploy_svc.kubernetes.usage import PodMeter
from deploy_svc.log_collector import LogCollector
from deploy_svc.settings import DeploySettings
from deploy_svc.wakes import WorkQueue
from mesh.db import Database
from mesh.errors import FailedPrecondition


@dataclass(frozen=True)
class OnClusters:
    """What the rest of deploy_svc deals with; `run` is to be run beside it."""

    target: KubernetesTarget
    apps: Apps

    def run(self) -> Coroutine[Any, Any, None]:
        """Look after functions on clusters until cancelled."""
        return self.apps.run()


def open_clusters(settings: DeploySettings, database: Database, around: Around, logs: LogCollector) -> OnClusters:
    """The clusters that the settings name. Raises FailedPrecondition (KUBECONFIG_INVALID)."""
    source = find_source(settings.deploy_kubeconfig, os.environ)
    if source is None:
        raise FailedPrecondition("KUBECONFIG_MISSING", "No cluster is configured.")
    queue, mesh = WorkQueue(), mesh_label(settings.read_mesh_id())
    clusters = Clusters(source, mesh, around.clock, queue.add)
    store = AppStore(database)
    rows = PodRows(store, clusters, logs, around.changes, around.clock)
    defaults = Defaults(source.current, settings.deploy_kubernetes_namespace)
    meter = PodMeter(clusters, mesh, around.clock)
    apps = Apps(around, queue, clusters, store, rows, defaults, options_of(settings), mesh)
    return OnClusters(KubernetesTarget(clusters, PodLogs(clusters, rows), meter), apps)
