"""Learns from deploy_svc where instances are, and tells it which of them have no requests from here any more."""

from __future__ import annotations

import asyncio

from fnmesh.internal.deploy.v1 import endpoint_service_pb2 as pb
from fnmesh.internal.deploy.v1 import endpoint_service_pb2_grpc as pb_grpc
from invoke_svc.admission import Admission
from invoke_svc.domain import InstanceState
from mesh.errors import NOT_LEADER, MeshError
from mesh.ids import new_id
from mesh.logs import get_logger
from mesh.loops import Backoff

log = get_logger(__name__)

RETIREMENTS_LIMIT = 1000
RETIRE_ATTEMPTS = 5
_BACKOFF = Backoff(first_s=0.1, limit_s=2.0)
_NEXT_S = 0.05
_TELL_USE_S = 1.0
_ASK_AGAIN_S = 1.0


class EndpointWatch:
    """Keeps an Admission in step with deploy_svc. While that is away the instances known last are used on."""

    def __init__(self, stub: pb_grpc.EndpointServiceAsyncStub, admission: Admission) -> None:
        self._stub = stub
        self._admission = admission
        self.synced = asyncio.Event()
        self._watcher = new_id("watcher-")
        self._seen: set[str] | None = None
        self._applied = 0
        self._acknowledged = -1
        self._released: set[str] = set()
        self._news = asyncio.Event()
        admission.on_released = self._on_released

    def _on_released(self, instance: str) -> None:
        self._released.add(instance)
        self._news.set()

    async def run(self) -> None:
        """Watches until cancelled."""
        failures = 0
        while True:
            before = self._applied
            try:
                await self._watch()
            except MeshError as error:
                log.debug("endpoint_watch_ended", reason=error.reason)
                if error.reason == NOT_LEADER:  # the next call goes to the next address
                    await asyncio.sleep(_NEXT_S)
                    continue
            failures = 1 if self._applied != before else failures + 1
            await asyncio.sleep(_BACKOFF.delay_s(failures))

    async def _watch(self) -> None:
        self._seen = set()
        self._applied, self._acknowledged = 0, -1
        self._released.clear()
        call = self._stub.WatchEndpoints()
        failure: MeshError | None = None
        async with asyncio.TaskGroup() as tasks:
            working: list[asyncio.Task[None]] = []
            try:
                await call.write(pb.WatchEndpointsRequest(hello=pb.Hello(watcher=self._watcher)))
                working += [tasks.create_task(self._acknowledge(call)), tasks.create_task(self._remind())]
                async for message in call:
                    self.apply(message)
            except MeshError as error:
                failure = error
            finally:
                for task in working:
                    task.cancel()
                call.cancel()
        if failure is not None:
            raise failure

    async def _acknowledge(self, call: object) -> None:
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                ack = pb.Ack(
                    applied_version=self._applied,
                    released_instances=sorted(self._released),
                    used_functions=self._admission.take_used(),
                )
                self._released.clear()
                if ack.released_instances or ack.used_functions or ack.applied_version > self._acknowledged:
                    await call.write(pb.WatchEndpointsRequest(ack=ack))  # type: ignore[attr-defined]
                    self._acknowledged = ack.applied_version
        except MeshError as error:
            # The reader sees the end of the stream too, and begins again.
            log.debug("endpoint_ack_failed", reason=error.reason)

    async def _remind(self) -> None:
        """Use is no news by itself: it is told with what is, or once a second."""
        while True:
            await asyncio.sleep(_TELL_USE_S)
            self._news.set()

    def apply(self, message: pb.WatchEndpointsResponse) -> None:
        """Takes over one message of the stream."""
        kind = message.WhichOneof("message")
        if kind == "endpoint":
            one = message.endpoint
            if self._seen is not None:
                self._seen.add(one.instance)
            self._admission.put(
                InstanceState(
                    uid=one.instance,
                    function_uid=one.function_uid,
                    revision=one.revision_number,
                    address=one.address,
                    concurrency=max(1, one.concurrency),
                    accepting=one.accepting,
                    version=one.version,
                )
            )
            version = one.version
        elif kind == "removed":
            if self._seen is not None:
                self._seen.discard(message.removed.instance)
            self._admission.remove(message.removed.instance)
            version = message.removed.version
        elif kind == "synced":
            if self._seen is not None:
                self._admission.keep_only(self._seen)
                self._seen = None
            self.synced.set()
            version = message.synced.version
        else:
            return
        self._applied = max(self._applied, version)
        if self._seen is None:
            self._news.set()


class Activator:
    """Asks deploy_svc for instances of functions that were scaled to zero, while requests wait for one."""

    def __init__(self, stub: pb_grpc.EndpointServiceAsyncStub, admission: Admission) -> None:
        self._stub = stub
        self._admission = admission
        self._asking: set[str] = set()
        self._wanted: asyncio.Queue[str] = asyncio.Queue()
        admission.on_cold = self._on_cold

    def _on_cold(self, uid: str) -> None:
        if uid not in self._asking:
            self._asking.add(uid)
            self._wanted.put_nowait(uid)

    async def run(self) -> None:
        """Asks until cancelled, for each function by itself."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                tasks.create_task(self._ask(await self._wanted.get()))

    async def _ask(self, uid: str) -> None:
        try:
            while self._admission.waits_cold(uid):
                try:
                    await self._stub.ActivateFunction(pb.ActivateFunctionRequest(function_uid=uid))
                except MeshError as error:
                    log.debug("function_not_activated", function=uid, reason=error.reason)
                await asyncio.sleep(_ASK_AGAIN_S)
        finally:
            self._asking.discard(uid)


class Retirer:
    """Tells deploy_svc of instances that are stuck, off the path of requests."""

    def __init__(self, stub: pb_grpc.EndpointServiceAsyncStub) -> None:
        self._stub = stub
        self._told: set[str] = set()
        self._queue: asyncio.Queue[tuple[str, str]] = asyncio.Queue(RETIREMENTS_LIMIT)

    def retire(self, instance: str, reason: str) -> None:
        """Asks for an instance to be replaced; once for each instance. Never waits."""
        if instance not in self._told and not self._queue.full():
            self._told.add(instance)
            self._queue.put_nowait((instance, reason))

    async def run(self) -> None:
        """Sends what was asked for, until cancelled."""
        while True:
            instance, reason = await self._queue.get()
            for attempt in range(1, RETIRE_ATTEMPTS + 1):
                try:
                    await self._stub.RetireInstance(pb.RetireInstanceRequest(instance=instance, reason=reason))
                    log.info("instance_retired", instance=instance, why=reason)
                    break
                except MeshError as error:
                    log.warning("instance_not_retired", instance=instance, reason=error.reason, attempt=attempt)
                    await asyncio.sleep(_BACKOFF.delay_s(attempt))
            else:
                self._told.discard(instance)
            if len(self._told) > RETIREMENTS_LIMIT:
                self._told.clear()
