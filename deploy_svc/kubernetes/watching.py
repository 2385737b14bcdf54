"""All that is watched of a cluster: what apps are made of, their pods, and which of those may get requests."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from deploy_svc.kubernetes import views
from deploy_svc.kubernetes.app_spec import AppKind
from deploy_svc.kubernetes.cluster import Cluster
from deploy_svc.kubernetes.informers import Informer
from deploy_svc.kubernetes.kinds import APPLIED_KINDS, ENDPOINTS, POD, SPIN_APP
from deploy_svc.kubernetes.names import MESH_LABEL
from deploy_svc.kubernetes.views import Held, Key, Pod, Slice
from mesh.errors import Unavailable

_OF_SERVICES = "kubernetes.io/service-name"  # those of SpinApps' Services carry no label of ours
_SYNC_S = 5.0


class Watching:
    """The objects of this mesh on a cluster. `changed` is called with the function whose objects did."""

    def __init__(
        self, cluster: Cluster, mesh: str, changed: Callable[[str], None], works_again: Callable[[], None]
    ) -> None:
        self._context = cluster.context
        self._changed = changed
        self._objects: dict[str, dict[tuple[str, Key], Held]] = defaultdict(dict)
        self._pods: dict[str, dict[Key, Pod]] = defaultdict(dict)
        self._owners: dict[str, str] = {}
        self._ready: dict[str, dict[Key, bool]] = defaultdict(dict)
        selector = f"{MESH_LABEL}={mesh}"
        self._held = {
            kind.name: Informer(
                cluster, kind, selector, partial(views.held, kind=kind.name), self._object_changed, works_again
            )
            for kind in APPLIED_KINDS
        }
        self._pod_informer = Informer(cluster, POD, selector, views.pod, self._pod_changed, works_again)
        self._slices = Informer(
            cluster, ENDPOINTS, _OF_SERVICES, views.endpoint_slice, self._slice_changed, works_again
        )

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for informer in self._all():
                tasks.create_task(informer.run())

    async def ready(self, kind: AppKind | None = None) -> None:
        """Returns once all that concerns apps of a kind is known (without one: of any). Raises why it is not."""
        needed = [one for one in self._all() if kind is not AppKind.CONTAINER or one is not self._held[SPIN_APP.name]]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SYNC_S):
                for informer in needed:
                    await informer.tried.wait()
        for informer in needed:
            if informer.error is not None:
                raise informer.error
            if not informer.synced.is_set():
                message = f"The cluster of context '{self._context}' has not answered yet."
                raise Unavailable("CLUSTER_UNAVAILABLE", message)

    @property
    def knows_pods(self) -> bool:
        """Whether it is known which pods there are, and which of them get requests."""
        return all(one.synced.is_set() and one.error is None for one in (self._pod_informer, self._slices))

    def objects(self, function: str) -> list[Held]:
        """What there is of a function, its pods and Secret apart."""
        return list(self._objects.get(function, {}).values())

    def pods(self, function: str) -> list[Pod]:
        """The pods of a function, oldest first."""
        return sorted(self._pods.get(function, {}).values(), key=lambda one: (one.created_at, one.name))

    def pod(self, key: Key) -> Pod | None:
        """A pod by namespace and name."""
        return self._pod_informer.get(key)

    def takes_requests(self, pod: Pod) -> bool:
        """Whether a Service sends requests to the pod, which is ready: some send them to any pod."""
        return bool(pod.address) and pod.ready and not pod.ending and any(self._ready.get(pod.uid, {}).values())

    def wrote(self, found: Mapping[str, Any]) -> None:
        """An object as the cluster answered when it was applied."""
        informer = self._held.get(str(found.get("kind")))
        if informer is not None:
            informer.put(found)
            if found.get("kind") == SPIN_APP.name:
                informer.look()

    def _all(self) -> list[Informer[Any]]:
        return [*self._held.values(), self._pod_informer, self._slices]

    def _object_changed(self, before: Held | None, now: Held | None) -> None:
        if before is not None:
            _drop(self._objects, before.function_uid, (before.kind, before.key))
        if now is not None:
            self._objects[now.function_uid][now.kind, now.key] = now
        self._tell(before, now)

    def _pod_changed(self, before: Pod | None, now: Pod | None) -> None:
        if before is not None:
            _drop(self._pods, before.function_uid, before.key)
            self._owners.pop(before.uid, None)
        if now is not None:
            self._pods[now.function_uid][now.key] = now
            self._owners[now.uid] = now.function_uid
        self._tell(before, now)

    def _tell(self, before: Held | Pod | None, now: Held | Pod | None) -> None:
        for uid in dict.fromkeys(one.function_uid for one in (before, now) if one is not None):
            self._changed(uid)

    def _slice_changed(self, before: Slice | None, now: Slice | None) -> None:
        if before is not None:
            for uid in before.pods:
                _drop(self._ready, uid, before.key)
        if now is not None:
            for uid, ready in now.pods.items():
                self._ready[uid][now.key] = ready
        concerned = {uid for one in (before, now) if one is not None for uid in one.pods}
        for owner in {self._owners[uid] for uid in concerned if uid in self._owners}:
            self._changed(owner)


def _drop(index: dict[str, dict[Any, Any]], uid: str, key: Any) -> None:
    """Take an entry out, and what is empty then."""
    index[uid].pop(key, None)
    if not index[uid]:
        del index[uid]
