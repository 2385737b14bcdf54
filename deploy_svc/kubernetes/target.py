"""The Kubernetes target as the rest of deploy_svc sees it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from deploy_svc.domain import Target
from deploy_svc.kubernetes.cluster import Cluster
from deploy_svc.kubernetes.clusters import Clusters
from deploy_svc.kubernetes.errors import no_answer
from deploy_svc.kubernetes.kinds import AUTOSCALER, DEPLOYMENT
from deploy_svc.kubernetes.names import FUNCTION_LABEL, MESH_LABEL
from deploy_svc.kubernetes.pod_logs import PodLogs
from deploy_svc.kubernetes.usage import PodMeter, has_metrics
from deploy_svc.ports import OutputLine, TargetHealth
from mesh.errors import MeshError

_CHECK_S = 3.0


class KubernetesTarget:
    """All clusters of one mesh."""

    target = Target.KUBERNETES

    def __init__(self, clusters: Clusters, logs: PodLogs, meter: PodMeter) -> None:
        self._clusters, self._logs = clusters, logs
        self.meters = (meter,)

    @property
    def contexts(self) -> Sequence[str]:
        """What functions may name, the current one first."""
        return self._clusters.contexts

    async def check(self) -> TargetHealth:
        """Whether the cluster of the default context answers."""
        context = self.contexts[0]
        try:
            async with asyncio.timeout(_CHECK_S):
                version = await self._clusters.reach(context).version()
                measured = await has_metrics(self._clusters, context)
        except TimeoutError:
            return TargetHealth(False, no_answer(context, f"not within {_CHECK_S:g} s").message)
        except MeshError as error:
            return TargetHealth(False, error.message)
        none = "" if self._clusters.current else " There is no current context: functions must name one."
        usage = "" if measured else " It has no metrics.k8s.io, so usage is not measured."
        return TargetHealth(True, f"Kubernetes {version}, context '{context}'.{none}{usage}")

    async def ask(self, context: str, namespace: str, objects: Sequence[Mapping[str, Any]]) -> None:
        """Raises why a cluster (empty: the default one) would not take objects: they are applied there, as a trial."""
        cluster = self._clusters.reach(context or self._clusters.current)
        await cluster.check_namespace(namespace)
        was_autoscaled = await _was_autoscaled(cluster, objects)
        for manifest in objects:
            await cluster.apply(manifest, trial=True, was_autoscaled=was_autoscaled)

    def output(self, instance: str, position: int) -> AsyncIterator[Sequence[OutputLine]]:
        """Lines that a pod's container wrote after a position, as they come."""
        return self._logs.output(instance, position)

    async def close(self) -> None:
        """End all calls and streams."""
        await self._clusters.close()


async def _was_autoscaled(cluster: Cluster, objects: Sequence[Mapping[str, Any]]) -> bool:
    """Whether there is an autoscaler of the same app, which is none of the objects."""
    main = next((one["metadata"] for one in objects if one["kind"] == DEPLOYMENT.name), None)
    if main is None or any(one["kind"] == AUTOSCALER.name for one in objects):
        return False
    found = await cluster.find(AUTOSCALER, main["namespace"], main["name"])
    labels = ((found or {}).get("metadata") or {}).get("labels") or {}
    return all(labels.get(key) == main["labels"][key] for key in (MESH_LABEL, FUNCTION_LABEL))
