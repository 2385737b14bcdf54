"""Where functions may be, and how they leave: a place is kept before the first object is made there, and until nothing
is seen there any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from deploy_svc.kubernetes.app_spec import Place
from deploy_svc.kubernetes.app_store import AppStore
from deploy_svc.kubernetes.applying import there_is
from deploy_svc.kubernetes.clusters import Clusters, Opened
from deploy_svc.kubernetes.kinds import AUTOSCALER, BUDGET, DEPLOYMENT, SECRET, SERVICE, SPIN_APP
from deploy_svc.kubernetes.names import FUNCTION_LABEL, MESH_LABEL
from deploy_svc.kubernetes.pod_rows import PodRows
from mesh.errors import MeshError
from mesh.logs import get_logger

log = get_logger(__name__)
_REMOVED = (AUTOSCALER, BUDGET, SERVICE, SPIN_APP, DEPLOYMENT, SECRET)


class Places:
    """Of all functions of one mesh. `left` is called with each function of which nothing is left in a place."""

    def __init__(
        self, mesh: str, app_store: AppStore, rows: PodRows, clusters: Clusters, left: Callable[[str], None]
    ) -> None:
        self._mesh, self._app_store, self._rows, self._clusters = mesh, app_store, rows, clusters
        self._left = left
        self._places: dict[str, set[Place]] = {}
        self._removed: set[tuple[str, Place]] = set()
        self.loaded = asyncio.Event()

    async def load(self) -> None:
        """Read what is kept."""
        self._places = await self._app_store.placements()
        self.loaded.set()

    def of(self, uid: str) -> frozenset[Place]:
        """Where there may be anything of a function."""
        return frozenset(self._places.get(uid, ()))

    def forget(self, uid: str) -> None:
        """The function is gone."""
        self._places.pop(uid, None)

    async def add(self, uid: str, place: Place) -> None:
        """Objects of a function are about to be made there."""
        await self._app_store.place(uid, place)
        self._places.setdefault(uid, set()).add(place)
        self._removed.discard((uid, place))

    async def leave(self, uid: str, places: Collection[Place]) -> bool:
        """Remove a function from places; each is forgotten once nothing of it is seen there. Whether all are.

        Raises the first error, after all have been tried: a cluster that is gone for good keeps no other from being
        emptied.
        """
        whole, errors = True, []
        for place in places:
            try:
                whole = await self._leave(uid, place) and whole
            except MeshError as error:
                errors.append(error)
        if errors:
            raise errors[0]
        return whole

    async def _leave(self, uid: str, place: Place) -> bool:
        opened = self._clusters.open(place.context)
        await opened.watching.ready()
        seen = [one for one in there_is(opened, uid, place.namespace).values() if not one.ending]
        if seen or (uid, place) not in self._removed:
            await self._remove(opened, uid, place.namespace)
            self._removed.add((uid, place))
        pods = [one for one in opened.watching.pods(uid) if one.namespace == place.namespace]
        if pods or there_is(opened, uid, place.namespace):
            return False
        found = await self._app_store.situation(uid)
        await self._rows.sync(uid, {place.context}, found[1] if found else ())
        await self._app_store.displace(uid, place)
        self._places.get(uid, set()).discard(place)
        self._removed.discard((uid, place))
        self._left(uid)
        return True

    async def _remove(self, opened: Opened, uid: str, namespace: str) -> None:
        """Delete all that carries the function's label in a namespace."""
        selector = f"{MESH_LABEL}={self._mesh},{FUNCTION_LABEL}={uid}"
        log.info("app_removed", function=uid, namespace=namespace, context=opened.cluster.context)
        for kind in _REMOVED:
            await opened.cluster.delete_all(kind, namespace, selector)
