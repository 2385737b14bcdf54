"""What is asked of one cluster's API: plain dictionaries in and out."""

from __future__ import annotations

import builtins
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from deploy_svc.kubernetes.errors import Asked, may_take_back, namespace_missing
from deploy_svc.kubernetes.kinds import BY_NAME, DEPLOYMENT, NAMESPACE, POD, Kind
from deploy_svc.kubernetes.names import MANAGER
from deploy_svc.kubernetes.transport import APPLY, MERGE, Query, Transport
from mesh.errors import Aborted, FailedPrecondition, NotFound

_PAGE = "100"  # whole objects are many times larger than what is kept of them
_SPARE_S = 15.0
OPENED: dict[str, Any] = {"type": "OPENED"}


class Cluster:
    """One context. Every call raises Unavailable where the cluster does not answer, or not in time."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.context = transport.context

    async def close(self) -> None:
        """End all calls and streams."""
        await self._transport.close()

    async def version(self) -> str:
        """`v1.36.2`."""
        found = await self._transport.call("GET", "/version", Asked("get", Kind("version", "version")))
        return str(found.get("gitVersion", ""))

    async def check_namespace(self, namespace: str) -> None:
        """Raises NotFound (NAMESPACE_NOT_FOUND), FailedPrecondition where it is being deleted."""
        asked = Asked("get", NAMESPACE, name=namespace)
        try:
            found = await self._transport.call("GET", NAMESPACE.path(name=namespace), asked)
        except NotFound as error:
            raise namespace_missing(namespace) from error
        if (found.get("status") or {}).get("phase") == "Terminating":
            raise FailedPrecondition("NAMESPACE_ENDS", f"Namespace '{namespace}' is being deleted.")

    async def find(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        """An object, or None."""
        try:
            return await self._transport.call("GET", kind.path(namespace, name), Asked("get", kind, namespace, name))
        except NotFound:
            return None

    async def apply(
        self, manifest: Mapping[str, Any], *, trial: bool = False, was_autoscaled: bool = False
    ) -> dict[str, Any]:
        """Make an object as it should be; fields that others have set are left alone. A `trial` changes nothing.

        The number of pods is taken back from our own autoscaler where the app `was_autoscaled` until now. Raises
        Aborted (FIELD_CONFLICT), PermissionDenied, InvalidArgument, FailedPrecondition.
        """
        try:
            return await self._apply(manifest, trial=trial, force=False)
        except Aborted as error:
            if not may_take_back(error, was_autoscaled=was_autoscaled):
                raise
            return await self._apply(manifest, trial=trial, force=True)

    async def _apply(self, manifest: Mapping[str, Any], *, trial: bool, force: bool) -> dict[str, Any]:
        kind = BY_NAME[manifest["kind"]]
        namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        query = [("fieldManager", MANAGER), ("force", "true" if force else "false")]
        query += [("dryRun", "All")] if trial else []
        asked = Asked("patch", kind, namespace, name)
        return await self._transport.call("PATCH", kind.path(namespace, name), asked, query, manifest, APPLY)

    async def unmark(self, kind: Kind, namespace: str, name: str, annotation: str) -> dict[str, Any]:
        """Take an annotation off an object."""
        body = {"metadata": {"annotations": {annotation: None}}}
        asked, query = Asked("patch", kind, namespace, name), [("fieldManager", MANAGER)]
        return await self._transport.call("PATCH", kind.path(namespace, name), asked, query, body, MERGE)

    async def delete(self, kind: Kind, namespace: str, name: str) -> None:
        """Delete an object; one that is not there is no error."""
        body = {"propagationPolicy": "Background"}
        asked = Asked("delete", kind, namespace, name)
        try:
            await self._transport.call("DELETE", kind.path(namespace, name), asked, (), body)
        except NotFound:
            return

    async def delete_all(self, kind: Kind, namespace: str, selector: str) -> None:
        """Delete all objects of a kind that a label selector selects; a kind that is not served has none."""
        query = [("labelSelector", selector)]
        body = {"propagationPolicy": "Background"}
        asked = Asked("deletecollection", kind, namespace)
        try:
            await self._transport.call("DELETE", kind.path(namespace), asked, query, body)
        except NotFound:
            return
        except FailedPrecondition as error:
            if error.reason != "SPINKUBE_NOT_INSTALLED":
                raise

    async def scale(self, namespace: str, name: str, replicas: int) -> None:
        """Set the number of pods of a Deployment, and nothing else of it."""
        asked = Asked("patch", Kind("Deployment", "deployments/scale", group="apps"), namespace, name)
        path = f"{DEPLOYMENT.path(namespace, name)}/scale"
        query = [("fieldManager", MANAGER)]
        await self._transport.call("PATCH", path, asked, query, {"spec": {"replicas": replicas}}, MERGE)

    async def list(self, kind: Kind, selector: str) -> AsyncGenerator[tuple[builtins.list[dict[str, Any]], str], None]:
        """All objects that a label selector selects, page by page, and the version that this is the state of."""
        token = ""
        while True:
            query = [("labelSelector", selector), ("limit", _PAGE), *([("continue", token)] if token else [])]
            found = await self._transport.call("GET", kind.path(), Asked("list", kind), query)
            metadata = found.get("metadata") or {}
            yield found.get("items") or [], str(metadata.get("resourceVersion", ""))
            token = metadata.get("continue") or ""
            if not token:
                return

    async def watch(
        self, kind: Kind, selector: str, version: str, seconds: int
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Events after a version, until the server ends the stream, which it does after so many seconds.

        The first one, `OPENED`, says only that the stream has begun.
        """
        query = [
            *(("labelSelector", selector), ("watch", "true"), ("resourceVersion", version)),
            *(("allowWatchBookmarks", "true"), ("timeoutSeconds", str(seconds))),
        ]
        lines = self._transport.lines(kind.path(), Asked("watch", kind), query, silent_s=seconds + _SPARE_S)
        async for line in lines:
            yield json.loads(line) if line else OPENED

    def log(self, namespace: str, pod: str, query: Query, *, silent_s: float) -> AsyncGenerator[bytes, None]:
        """What a container of a pod has written, as it comes. Raises NotFound, and InvalidArgument before it runs.

        And Unavailable where nothing comes for so long: that looks the same as a connection that somebody between has
        forgotten.
        """
        asked = Asked("get", Kind("Pod", "pods/log"), namespace, pod)
        return self._transport.blocks(f"{POD.path(namespace, pod)}/log", asked, query, silent_s=silent_s)

    async def raw(self, path: str, asked: Asked, query: Query = ()) -> dict[str, Any]:
        """Any other thing that can be read."""
        return await self._transport.call("GET", path, asked, query)
