"""A registry and a deploy_svc that tests hold in their hands: what invoke_svc is told, over real gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from fnmesh.internal.deploy.v1 import endpoint_service_pb2 as deploy_pb
from fnmesh.internal.deploy.v1 import endpoint_service_pb2_grpc as deploy_grpc
from fnmesh.internal.registry.v1 import registry_internal_service_pb2 as registry_pb
from fnmesh.internal.registry.v1 import registry_internal_service_pb2_grpc as registry_grpc
from fnmesh.registry.v1 import function_pb2
from mesh.errors import NotFound, Unauthenticated, Unavailable


class FakeRegistry(registry_grpc.RegistryInternalServiceServicer):
    """Functions by uid, told to every watcher."""

    def __init__(self) -> None:
        self.version = 0
        self.snapshots: dict[str, registry_pb.FunctionSnapshot] = {}
        self.keys: dict[str, registry_pb.VerifyApiKeyResponse] = {}
        self.workspaces: dict[str, str] = {}
        self.watchers: list[asyncio.Queue[registry_pb.WatchFunctionsResponse | None]] = []
        self.reset_next = False
        self.silent = False

    def put(self, uid: str, **fields: Any) -> None:
        """Adds or changes a function: `revision`, `timeout_s`, and any field of Function."""
        self.version += 1
        revision = fields.pop("revision", 1)
        timeout_s = fields.pop("timeout_s", 5.0)
        deleted = fields.pop("deleted", False)
        fields.setdefault("path", uid.removeprefix("fn-"))
        fields.setdefault("display_name", uid.removeprefix("fn-"))
        fields.setdefault("running", revision > 0)
        function = function_pb2.Function(name=f"workspaces/ws-1/functions/{uid}", uid=uid, **fields)
        snapshot = registry_pb.FunctionSnapshot(
            function=function,
            version=self.version,
            serving_revision_number=revision,
            deleted=deleted,
            workspace_display_name="default",
        )
        snapshot.serving_limits.timeout.FromMilliseconds(int(timeout_s * 1000))
        self.snapshots[uid] = snapshot
        if not self.silent:
            self.tell(registry_pb.WatchFunctionsResponse(function=snapshot))

    def tell(self, message: registry_pb.WatchFunctionsResponse | None) -> None:
        for queue in self.watchers:
            queue.put_nowait(message)

    def break_streams(self) -> None:
        self.tell(None)

    async def WatchFunctions(self, request: Any, context: Any) -> AsyncIterator[Any]:
        queue: asyncio.Queue[registry_pb.WatchFunctionsResponse | None] = asyncio.Queue()
        after = request.after_version
        self.watchers.append(queue)  # before the state is read: a change in between must not be lost
        if self.reset_next:
            self.reset_next, after = False, 0
            yield registry_pb.WatchFunctionsResponse(reset=registry_pb.Reset())
        for snapshot in sorted(self.snapshots.values(), key=lambda one: one.version):
            if snapshot.version > after:
                yield registry_pb.WatchFunctionsResponse(function=snapshot)
        try:
            yield registry_pb.WatchFunctionsResponse(bookmark=registry_pb.Bookmark(version=self.version))
            while (message := await queue.get()) is not None:
                yield message
        finally:
            self.watchers.remove(queue)

    async def ResolveFunction(self, request: Any, context: Any) -> registry_pb.FunctionSnapshot:
        workspace, name = request.name.split("/")[1], request.name.split("/")[3]
        for snapshot in self.snapshots.values():
            names = (snapshot.function.uid, snapshot.function.display_name)
            if name in names and workspace in ("ws-1", "default") and not snapshot.deleted:
                return snapshot
        raise NotFound("FUNCTION_NOT_FOUND", f"There is no function '{name}'.")

    async def ResolveWorkspace(self, request: Any, context: Any) -> registry_pb.ResolveWorkspaceResponse:
        reference = request.name.split("/")[1]
        known = {"ws-1": "default", **self.workspaces}
        for uid, name in known.items():
            if reference in (uid, name):
                return registry_pb.ResolveWorkspaceResponse(uid=uid, display_name=name)
        if not request.create:
            raise NotFound("WORKSPACE_NOT_FOUND", f"There is no workspace '{reference}'.")
        self.workspaces[f"ws-{reference}"] = reference
        return registry_pb.ResolveWorkspaceResponse(uid=f"ws-{reference}", display_name=reference)

    async def VerifyApiKey(self, request: Any, context: Any) -> registry_pb.VerifyApiKeyResponse:
        if request.secret not in self.keys:
            raise Unauthenticated("KEY_INVALID", "The API key is unknown, revoked or expired.")
        return self.keys[request.secret]


class FakeDeploy(deploy_grpc.EndpointServiceServicer):
    """Endpoints by instance, told to every watcher; remembers what watchers say."""

    def __init__(self) -> None:
        self.version = 0
        self.endpoints: dict[str, deploy_pb.Endpoint] = {}
        self.watchers: list[asyncio.Queue[deploy_pb.WatchEndpointsResponse | None]] = []
        self.hellos: list[str] = []
        self.applied = 0
        self.released: list[str] = []
        self.retired: list[tuple[str, str]] = []
        self.used: list[str] = []
        self.activated: list[str] = []
        self.refusals = 0

    def put(self, instance: str, function_uid: str, address: str, **fields: Any) -> None:
        self.version += 1
        fields = {"concurrency": 10, "accepting": True, "revision_number": 1, **fields}
        endpoint = deploy_pb.Endpoint(
            instance=instance, function_uid=function_uid, address=address, version=self.version, **fields
        )
        self.endpoints[instance] = endpoint
        self.tell(deploy_pb.WatchEndpointsResponse(endpoint=endpoint))

    def remove(self, instance: str) -> None:
        self.version += 1
        self.endpoints.pop(instance)
        removed = deploy_pb.Removed(instance=instance, version=self.version)
        self.tell(deploy_pb.WatchEndpointsResponse(removed=removed))

    def tell(self, message: deploy_pb.WatchEndpointsResponse | None) -> None:
        for queue in self.watchers:
            queue.put_nowait(message)

    async def WatchEndpoints(self, request_iterator: AsyncIterator[Any], context: Any) -> None:
        queue: asyncio.Queue[deploy_pb.WatchEndpointsResponse | None] = asyncio.Queue()
        hello = await anext(aiter(request_iterator))
        self.hellos.append(hello.hello.watcher)
        self.watchers.append(queue)  # before the state is read: a change in between must not be lost
        for endpoint in list(self.endpoints.values()):
            await context.write(deploy_pb.WatchEndpointsResponse(endpoint=endpoint))
        synced = deploy_pb.EndpointsSynced(version=self.version)
        await context.write(deploy_pb.WatchEndpointsResponse(synced=synced))

        async def listen() -> None:
            async for message in request_iterator:
                self.applied = message.ack.applied_version
                self.released.extend(message.ack.released_instances)
                self.used.extend(message.ack.used_functions)

        try:
            async with asyncio.TaskGroup() as tasks:
                listening = tasks.create_task(listen())
                while (message := await queue.get()) is not None:
                    await context.write(message)
                listening.cancel()
        finally:
            self.watchers.remove(queue)

    async def RetireInstance(self, request: Any, context: Any) -> deploy_pb.RetireInstanceResponse:
        self.retired.append((request.instance, request.reason))
        return deploy_pb.RetireInstanceResponse()

    async def ActivateFunction(self, request: Any, context: Any) -> deploy_pb.ActivateFunctionResponse:
        self.activated.append(request.function_uid)
        if self.refusals:
            self.refusals -= 1
            raise Unavailable("RESTARTING", "Not now.", retry_after_s=0)
        return deploy_pb.ActivateFunctionResponse()
