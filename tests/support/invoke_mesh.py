"""invoke_svc as it is, over real gRPC, between a registry and a deploy_svc that tests hold in their hands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import grpc.aio
from google.api import httpbody_pb2

from fnmesh.internal.deploy.v1 import endpoint_service_pb2_grpc as deploy_grpc
from fnmesh.internal.registry.v1 import registry_internal_service_pb2_grpc as registry_grpc
from fnmesh.invoke.v1 import invoke_service_pb2_grpc
from invoke_svc.app import Running, app
from invoke_svc.settings import InvokeSettings
from mesh.auth import Authenticator, ServiceToken
from mesh.rpc_client import open_channel
from mesh.rpc_server import serve
from tests.support.eventually import eventually
from tests.support.invoke_surroundings import FakeDeploy, FakeRegistry
from tests.support.scripted_workload import Script, Workload

TRACE = "0af7651916cd43dd8448eb211c80319c"
HTTP_SERVICE = "/fnmesh.internal.invoke.v1.HttpService/"
RESET = b"\xff" * 6


@dataclass
class Answer:
    """What Envoy would make of the answer."""

    status: int
    content_type: str | None
    headers: list[tuple[str, bytes]]
    messages: list[bytes]
    reset: bool

    @property
    def body(self) -> bytes:
        return b"".join(self.messages)

    def header(self, name: str) -> bytes | None:
        values = [value for key, value in self.headers if key == name]
        return b"|".join(values) if values else None


@dataclass
class Mesh:
    """invoke_svc and its surroundings."""

    run_dir: Path
    stack: AsyncExitStack
    registry: FakeRegistry = field(default_factory=FakeRegistry)
    deploy: FakeDeploy = field(default_factory=FakeDeploy)
    token: ServiceToken = field(default_factory=ServiceToken.new)
    running: Running | None = None
    deploy_server: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def channel(self) -> grpc.aio.Channel:
        assert self.running is not None
        channel = grpc.aio.insecure_channel(self.running.address)
        self.stack.push_async_callback(channel.close)
        return channel

    def public(self, key: str = "") -> invoke_service_pb2_grpc.InvokeServiceAsyncStub:
        """A caller of the public API, who gets mesh errors raised."""
        assert self.running is not None
        channel = open_channel(self.running.address)
        self.stack.push_async_callback(channel.close)
        return invoke_service_pb2_grpc.InvokeServiceStub(channel)  # type: ignore[return-value]

    async def start_deploy(self) -> None:
        await self.deploy_server.enter_async_context(
            serve(
                f"unix:{self.run_dir}/deploy.sock",
                lambda server: deploy_grpc.add_EndpointServiceServicer_to_server(self.deploy, server),
                public_services=(),
                internal_services=("fnmesh.internal.deploy.v1.EndpointService",),
                auth=Authenticator("off", self.token),
                drain_s=0.1,
            )
        )

    async def stop_deploy(self) -> None:
        await self.deploy_server.aclose()

    async def workload(self, script: Script, name: str = "w") -> tuple[Workload, str]:
        """A scripted workload and its address."""
        workload = Workload(script)
        path = self.run_dir / name
        server = await asyncio.start_unix_server(workload.serve, path, limit=1 << 20)
        self.stack.push_async_callback(workload.stop, server)
        return workload, f"unix:{path}"

    async def function(self, script: Script, uid: str = "fn-hello", **fields: Any) -> Workload:
        """A function with one scripted instance `in-<uid>`, known to invoke_svc."""
        concurrency = fields.pop("concurrency", 10)
        workload, address = await self.workload(script, f"w-{uid}")
        self.registry.put(uid, **fields)
        self.deploy.put(f"in-{uid}", uid, address, concurrency=concurrency)
        await self.settled()
        return workload

    async def settled(self) -> None:
        """invoke_svc knows what the registry and deploy_svc have said."""
        running = self.running
        assert running is not None

        def known() -> bool:
            for uid, snapshot in self.registry.snapshots.items():
                route = running.routes.get(uid)
                if (route is None) != snapshot.deleted or (route and route.version != snapshot.version):
                    return False
            return self.deploy.applied == self.deploy.version

        await eventually(known)

    async def http(
        self,
        method: str = "GET",
        path: str = "/api/hello",
        body: bytes | Sequence[bytes] = b"",
        *,
        headers: Iterable[tuple[str, str]] = (),
        host: str = "example.com",
        content_type: str = "",
        token: str | None = None,
    ) -> Answer:
        """A request in the lane; with a list of pieces it is the streamed one."""
        call = self.begin(method, path, body, headers=headers, host=host, content_type=content_type, token=token)
        return await finished(call)

    def begin(
        self,
        method: str = "GET",
        path: str = "/api/hello",
        body: bytes | Sequence[bytes] | AsyncIterator[bytes] = b"",
        *,
        headers: Iterable[tuple[str, str]] = (),
        host: str = "example.com",
        content_type: str = "",
        token: str | None = None,
    ) -> Any:
        metadata = (
            ("x-fnmesh-service-token", self.token.value if token is None else token),
            ("x-fn-method", method),
            ("x-fn-path", path),
            ("x-fn-host", host),
            *headers,
        )
        if isinstance(body, bytes):
            message = httpbody_pb2.HttpBody(content_type=content_type, data=body).SerializeToString()
            return self.channel.unary_stream(HTTP_SERVICE + "InvokeHttp")(message, metadata=metadata)
        pieces = body

        async def messages() -> AsyncIterator[bytes]:
            if isinstance(pieces, Sequence):
                for piece in pieces:
                    yield httpbody_pb2.HttpBody(content_type=content_type, data=piece).SerializeToString()
            else:
                async for piece in pieces:
                    yield httpbody_pb2.HttpBody(content_type=content_type, data=piece).SerializeToString()

        return self.channel.stream_stream(HTTP_SERVICE + "InvokeHttpStream")(messages(), metadata=metadata)


async def finished(call: Any) -> Answer:
    """The whole answer of a call."""
    answer = await head(call)
    async for message in call:
        if message == RESET:
            answer.reset = True
        else:
            answer.messages.append(httpbody_pb2.HttpBody.FromString(message).data)
    return answer


async def head(call: Any) -> Answer:
    """Status and headers, as soon as they are there."""
    status, content_type, headers = 0, None, []
    for key, value in await call.initial_metadata():
        if key == "x-fn-status":
            status = int(value)
        elif key == "x-fn-ct":
            content_type = value
        elif key == "x-fn-h":
            name, _, encoded = value.partition("=")
            headers.append((name, unquote_to_bytes(encoded)))
    return Answer(status, content_type, headers, [], False)


@asynccontextmanager
async def mesh_running(run_dir: Path, *, token: ServiceToken | None = None, **settings: Any) -> AsyncIterator[Mesh]:
    async with AsyncExitStack() as stack:
        mesh = Mesh(run_dir, stack, token=token or ServiceToken.new())
        (run_dir / "token").write_text(mesh.token.value)
        await mesh.start_deploy()
        stack.push_async_callback(mesh.stop_deploy)
        await stack.enter_async_context(
            serve(
                f"unix:{run_dir}/registry.sock",
                lambda server: registry_grpc.add_RegistryInternalServiceServicer_to_server(mesh.registry, server),
                public_services=(),
                internal_services=("fnmesh.internal.registry.v1.RegistryInternalService",),
                auth=Authenticator("off", mesh.token),
                drain_s=0.1,
            )
        )
        fields = {
            "data_dir": run_dir,
            "run_dir": run_dir,
            "registry_address": f"unix:{run_dir}/registry.sock",
            "deploy_address": f"unix:{run_dir}/deploy.sock",
            "gateway_address": f"unix:{run_dir}/gateway.sock",
            "invoke_address": f"unix:{run_dir}/invoke.sock",
            "invoke_grace_s": 0.3,
            "invoke_drain_s": 3.0,
            "invoke_flush_interval_s": 0.02,
            **settings,
        }
        mesh.running = await stack.enter_async_context(app(InvokeSettings(**fields)))
        # Channels and workloads made by the test go first.
        async with AsyncExitStack() as inner:
            mesh.stack = inner
            yield mesh
