"""Learns of functions from the registry: all of them, then each change, and all over again when told so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fnmesh.internal.registry.v1 import registry_internal_service_pb2 as pb
from fnmesh.internal.registry.v1 import registry_internal_service_pb2_grpc as pb_grpc
from fnmesh.registry.v1 import function_pb2
from invoke_svc.domain import Route
from invoke_svc.routes import RouteTable
from mesh.errors import MeshError
from mesh.logs import get_logger
from mesh.loops import Backoff

log = get_logger(__name__)

DEFAULT_TIMEOUT_S = 30.0
_BACKOFF = Backoff(first_s=0.1, limit_s=2.0)
_FOREIGN = frozenset((function_pb2.RUNTIME_IMAGE, function_pb2.RUNTIME_SPIN))


class RegistryWatch:
    """Keeps a RouteTable in step with the registry; what is known stays known while the registry is away."""

    def __init__(
        self,
        stub: pb_grpc.RegistryInternalServiceAsyncStub,
        routes: RouteTable,
        on_change: Callable[[str, Route | None], None],
    ) -> None:
        self._stub = stub
        self._routes = routes
        self._on_change = on_change
        self.synced = asyncio.Event()
        self._version = 0
        self._fresh: dict[str, Route] | None = None

    async def run(self) -> None:
        """Watches until cancelled."""
        failures = 0
        while True:
            try:
                async for message in self._stub.WatchFunctions(pb.WatchFunctionsRequest(after_version=self._version)):
                    failures = 0
                    self.apply(message)
            except MeshError as error:
                failures += 1
                log.debug("function_watch_ended", reason=error.reason)
            # A stream that broke in the middle of a reset has to begin it again.
            if self._fresh is not None:
                self._fresh, self._version = None, 0
            await asyncio.sleep(_BACKOFF.delay_s(max(1, failures)))

    def apply(self, message: pb.WatchFunctionsResponse) -> None:
        """Takes over one message of the stream."""
        kind = message.WhichOneof("message")
        if kind == "function":
            self._function(message.function)
        elif kind == "reset":
            self._fresh, self._version = {}, 0
        elif kind == "bookmark":
            if self._fresh is not None:
                self._replace(self._fresh)
                self._fresh = None
            self._version = max(self._version, message.bookmark.version)
            if not self._routes.synced:
                self._routes.synced = True
                self.synced.set()
                log.info("functions_known", count=len(self._routes), version=self._version)

    def learn(self, snapshot: pb.FunctionSnapshot) -> Route | None:
        """Takes over what the registry said of one function in another call; None where it is deleted."""
        route = route_of(snapshot)
        if not snapshot.deleted:
            self._routes.put(route)
            self._on_change(route.uid, route)
        return None if snapshot.deleted else route

    def _function(self, snapshot: pb.FunctionSnapshot) -> None:
        uid = snapshot.function.uid
        if self._fresh is not None:
            if snapshot.deleted:
                self._fresh.pop(uid, None)
            else:
                self._fresh[uid] = route_of(snapshot)
            return
        self._version = max(self._version, snapshot.version)
        if snapshot.deleted:
            self._routes.remove(uid)
            self._on_change(uid, None)
        else:
            route = route_of(snapshot)
            self._routes.put(route)
            self._on_change(uid, route)

    def _replace(self, fresh: dict[str, Route]) -> None:
        gone = set(self._routes.uids()) - set(fresh)
        self._routes.replace_all(fresh.values())
        for uid in gone:
            self._on_change(uid, None)
        for uid, route in fresh.items():
            self._on_change(uid, route)


def route_of(snapshot: pb.FunctionSnapshot) -> Route:
    """The function as a request sees it."""
    function = snapshot.function
    failed = function.deployment_state == function_pb2.DEPLOYMENT_STATE_FAILED
    return Route(
        uid=function.uid,
        name=function.name,
        workspace=function.name.split("/")[1] if "/" in function.name else "",
        display_name=function.display_name,
        workspace_display_name=snapshot.workspace_display_name,
        path=function.path or function.display_name,
        methods=frozenset(function.methods),
        revision=snapshot.serving_revision_number if function.running else 0,
        timeout_s=_timeout_s(snapshot),
        needs_key=function.access == function_pb2.ACCESS_KEY,
        failure=(function.deployment_message or "The function could not be started.") if failed else "",
        foreign=function.runtime in _FOREIGN,
        component=function.runtime == function_pb2.RUNTIME_SPIN,
        body_event=function.event_format == function_pb2.EVENT_FORMAT_BODY,
        invocation_url=function.invocation_url,
        version=snapshot.version,
    )


def _timeout_s(snapshot: pb.FunctionSnapshot) -> float:
    for limits in (snapshot.serving_limits, snapshot.function.limits):
        seconds: float = limits.timeout.seconds + limits.timeout.nanos / 1e9
        if seconds > 0:
            return seconds
    return DEFAULT_TIMEOUT_S
