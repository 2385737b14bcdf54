"""What pods use, of metrics.k8s.io where a cluster has it: one call for each cluster, whatever the number of pods."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from deploy_svc.domain import Instance, Target
from deploy_svc.kubernetes.clusters import Clusters
from deploy_svc.kubernetes.errors import Asked
from deploy_svc.kubernetes.kinds import Kind
from deploy_svc.kubernetes.names import MESH_LABEL, parse_handle
from deploy_svc.kubernetes.quantities import quantity
from deploy_svc.usage.domain import Capacity, Reading
from mesh.clock import Clock
from mesh.errors import FailedPrecondition, MeshError, NotFound, PermissionDenied
from mesh.logs import get_logger

log = get_logger(__name__)
_METRICS = Kind("PodMetrics", "pods", "v1beta1", "metrics.k8s.io")
_NODE = Kind("Node", "nodes")


async def has_metrics(clusters: Clusters, context: str) -> bool:
    """Whether a cluster tells what pods use."""
    try:
        await clusters.reach(context).raw("/apis/metrics.k8s.io/v1beta1", Asked("get", _METRICS))
    except (NotFound, PermissionDenied, FailedPrecondition):
        return False
    return True


class PodMeter:
    """Reads CPU and memory of pods. The cluster tells how fast CPU time is used, which is added up here."""

    target = Target.KUBERNETES

    def __init__(self, clusters: Clusters, mesh: str, clock: Clock) -> None:
        self._clusters, self._mesh, self._clock = clusters, mesh, clock
        self._cpu_s: dict[str, float] = {}
        self._read_at: dict[str, float] = {}

    async def capacity(self) -> Capacity:
        """What the nodes of all clusters have together that pods can be put on; none where that cannot be read."""
        cpus, memory = 0.0, 0.0
        for context in self._clusters.contexts:
            if self._clusters.known(context) is None:
                continue
            with contextlib.suppress(MeshError):
                found = await self._clusters.reach(context).raw(_NODE.path(), Asked("list", _NODE))
                for node in found.get("items") or ():
                    has = (node.get("status") or {}).get("allocatable") or {}
                    cpus += quantity(str(has.get("cpu", "")))
                    memory += quantity(str(has.get("memory", "")))
        return Capacity(cpus, int(memory))

    async def read(self, instances: Sequence[Instance]) -> Mapping[str, Reading]:
        """Readings of those that the metrics servers know; of a cluster without one, or that is down, there are none.

        Raises why, where none of the clusters answers.
        """
        by_pod = {_place(one): one.uid for one in instances}
        contexts = {place[0] for place in by_pod}
        readings: dict[str, Reading] = {}
        errors: list[MeshError] = []
        for context in contexts:
            try:
                found = await self._of_cluster(context)
            except MeshError as error:
                log.debug("usage_of_cluster_not_read", context=context, reason=error.reason)
                errors.append(error)
                continue
            now = self._clock.monotonic()
            passed_s = now - self._read_at.get(context, now)
            self._read_at[context] = now
            for namespace, name, cpus, memory in found:
                uid = by_pod.get((context, namespace, name))
                if uid is not None:
                    readings[uid] = Reading(self._cpu_s.get(uid, 0.0) + cpus * passed_s, memory)
        if errors and len(errors) == len(contexts):
            raise errors[0]
        known = {uid: self._cpu_s[uid] for uid in by_pod.values() if uid in self._cpu_s}
        self._cpu_s = known | {uid: one.cpu_s for uid, one in readings.items()}
        return readings

    async def _of_cluster(self, context: str) -> list[tuple[str, str, float, int]]:
        if context not in self._clusters.contexts:
            return []
        query = [("labelSelector", f"{MESH_LABEL}={self._mesh}")]
        try:
            found = await self._clusters.reach(context).raw(_METRICS.path(), Asked("list", _METRICS), query)
        except NotFound:
            return []
        return [_used(one) for one in found.get("items") or ()]


def _place(instance: Instance) -> tuple[str, str, str]:
    namespace, pod, _, context = parse_handle(instance.handle)
    return context, namespace, pod


def _used(found: Mapping[str, Any]) -> tuple[str, str, float, int]:
    usage = [one.get("usage") or {} for one in found.get("containers") or ()]
    cpus = sum(quantity(str(one.get("cpu", ""))) for one in usage)
    memory = sum(quantity(str(one.get("memory", ""))) for one in usage)
    metadata = found.get("metadata") or {}
    return str(metadata.get("namespace", "")), str(metadata.get("name", "")), cpus, int(memory)
