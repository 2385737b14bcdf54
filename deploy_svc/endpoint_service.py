"""EndpointService: where instances are, for those who send requests to them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

from deploy_svc.activity import Activity
from deploy_svc.convert import to_endpoint
from deploy_svc.domain import Instance, InstanceState
from deploy_svc.store import Store
from deploy_svc.wakes import Wakes
from deploy_svc.watchers import Watchers
from fnmesh.internal.deploy.v1 import endpoint_service_pb2 as pb
from fnmesh.internal.deploy.v1 import endpoint_service_pb2_grpc as pb_grpc
from mesh.errors import InvalidArgument, NotFound, Unavailable
from mesh.logs import get_logger

log = get_logger(__name__)
_RECHECK_S = 5.0
_SERVING = (InstanceState.READY, InstanceState.DRAINING)


class EndpointServicer(pb_grpc.EndpointServiceServicer):
    """Tells watchers of endpoints, and the reconciler of what watchers have let go.

    `leads` raises Unavailable where another process leads: it has to be asked instead.
    """

    def __init__(
        self,
        store: Store,
        watchers: Watchers,
        activity: Activity,
        changes: Wakes,
        requeue: Callable[[str], None],
        left: Callable[[], None],
        leads: Callable[[], None],
        *,
        stream_age_s: float = 3600.0,
    ) -> None:
        self._store, self._watchers, self._changes = store, watchers, changes
        self._activity = activity
        self._requeue, self._left = requeue, left
        self._leads = leads
        self._stream_age_s = stream_age_s

    async def WatchEndpoints(  # type: ignore[override]  # writes by itself: it reads at the same time
        self, request_iterator: AsyncIterator[pb.WatchEndpointsRequest], context: Any
    ) -> None:
        """The watcher's hello, all endpoints, the bookmark, then changes; meanwhile its acknowledgements."""
        first = await anext(aiter(request_iterator), None)
        self._leads()
        if first is None or not first.hello.watcher:
            raise InvalidArgument("HELLO_MISSING", "The first message must say who watches.")
        watcher = first.hello.watcher
        self._watchers.joined(watcher)
        log.info("watcher_joined", watcher=watcher)
        over: Unavailable | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(self._send(context))
                await self._receive(watcher, request_iterator)
                sending.cancel()
        except* Unavailable as group:
            over = next(one for one in group.exceptions if isinstance(one, Unavailable))
        finally:
            self._watchers.left(watcher)
            log.info("watcher_left", watcher=watcher)
            self._left()  # and nothing slow: the service may be stopping
        if over is not None:  # raised in `except*` it would be in a group, in Python before 3.11.4
            raise over

    async def RetireInstance(self, request: pb.RetireInstanceRequest, context: Any) -> pb.RetireInstanceResponse:
        """Have an instance replaced, drained and stopped."""
        self._leads()
        instance = await self._store.instance(request.instance)
        if instance is None:
            raise NotFound("INSTANCE_NOT_FOUND", f"There is no instance '{request.instance}'.")
        if instance.state is InstanceState.READY and not instance.retired:
            reason = request.reason or "It was retired."
            log.warning("instance_retired", instance=instance.uid, why=reason)
            await self._store.change_instance(instance.uid, retired=reason)
            self._requeue(instance.function_uid)
        return pb.RetireInstanceResponse()

    async def ActivateFunction(self, request: pb.ActivateFunctionRequest, context: Any) -> pb.ActivateFunctionResponse:
        """Have an instance started where the function is scaled to zero."""
        self._leads()
        if await self._store.function(request.function_uid) is None:
            raise NotFound("FUNCTION_NOT_FOUND", f"There is no function '{request.function_uid}'.")
        self._activity.used([request.function_uid])
        self._requeue(request.function_uid)
        return pb.ActivateFunctionResponse()

    async def _receive(self, watcher: str, messages: AsyncIterator[pb.WatchEndpointsRequest]) -> None:
        async for message in messages:
            if message.WhichOneof("message") != "ack":
                continue
            self._activity.used(message.ack.used_functions)
            released = list(message.ack.released_instances)
            self._watchers.acknowledged(watcher, message.ack.applied_version, released)
            for uid in released:
                instance = await self._store.instance(uid)
                if instance is not None:
                    self._requeue(instance.function_uid)

    async def _send(self, context: Any) -> None:
        spread = random.uniform(0.9, 1.1)  # noqa: S311 -- spreads reconnects, guards nothing
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._stream_age_s * spread
        with self._changes.listening() as wake:
            found, version = await self._store.changed_since(0)
            for instance in found:
                if instance.state in _SERVING:
                    await context.write(pb.WatchEndpointsResponse(endpoint=to_endpoint(instance)))
            await context.write(pb.WatchEndpointsResponse(synced=pb.EndpointsSynced(version=version)))
            while loop.time() < ends:
                try:
                    async with asyncio.timeout(_RECHECK_S):
                        await wake.wait()
                except TimeoutError:
                    pass
                wake.clear()
                found, version = await self._store.changed_since(version)
                for instance in found:
                    message = _change(instance)
                    if message is not None:
                        await context.write(message)
        raise Unavailable("STREAM_AGED", "The stream has reached its age; call again.", retry_after_s=0)


def _change(instance: Instance) -> pb.WatchEndpointsResponse | None:
    if instance.state in _SERVING:
        return pb.WatchEndpointsResponse(endpoint=to_endpoint(instance))
    if instance.live:
        return None
    return pb.WatchEndpointsResponse(removed=pb.Removed(instance=instance.uid, version=instance.version))
