"""A gateway with a real Envoy in front of it, and fake services behind: for tests of what passes through."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import grpc.aio
import httpx
from google.api.httpbody_pb2 import HttpBody

from fnmesh.internal.invoke.v1 import http_service_pb2_grpc
from gateway.app import app
from gateway.domain import SERVICES
from gateway.envoy import admin
from gateway.envoy.command import envoy_command
from gateway.settings import GatewaySettings
from mesh.auth import ServiceToken
from mesh.membership import joined
from tests.support.eventually import eventually
from tests.support.state_dir import envoy_cache

TOKEN = "t" * 32
METADATA_LIMITS = (("grpc.max_metadata_size", 1 << 20), ("grpc.absolute_max_metadata_size", 1 << 20))
RESET = b"\xff" * 6


@dataclass
class Seen:
    """One request as it reached the fake invoke service."""

    lane: str
    metadata: list[tuple[str, str]]
    content_type: str = ""
    body: bytes = b""
    cancelled: bool = False
    member: str = ""

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.metadata if key == name]

    def one(self, name: str) -> str:
        (value,) = self.all(name)
        return value

    @property
    def method(self) -> str:
        return self.one("x-fn-method")

    @property
    def path(self) -> str:
        return self.one("x-fn-path")


@dataclass
class Answer:
    """What the fake invoke service answers."""

    status: int = 200
    content_type: str | None = "text/plain"
    headers: Sequence[tuple[str, str]] = ()
    chunks: Sequence[bytes] = (b"ok",)
    # Awaited before each chunk after the first: for streams that wait.
    between: Callable[[], Awaitable[None]] | None = None
    late: bool = False
    error: tuple[grpc.StatusCode, str] | None = None
    # Sent as it is, in place of all that the fields above say of the head.
    metadata: Sequence[tuple[str, str]] | None = None


Respond = Callable[[Seen], Answer | Awaitable[Answer]]


class FakeInvoke(http_service_pb2_grpc.HttpServiceServicer):
    """Records each request and answers what `respond` says."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.seen: list[Seen] = []
        self.respond: Respond = lambda seen: Answer()
        self.active = 0

    async def _run(self, lane: str, bodies: AsyncIterator[HttpBody], context: Any) -> None:
        seen = Seen(lane, [(key, str(value)) for key, value in context.invocation_metadata()], member=self.name)
        self.seen.append(seen)
        self.active += 1
        try:
            parts = bytearray()
            async for body in bodies:
                seen.content_type = body.content_type or seen.content_type
                parts += body.data
            seen.body = bytes(parts)
            answer = self.respond(seen)
            if not isinstance(answer, Answer):
                answer = await answer
            if answer.error is not None:
                await context.abort(*answer.error)
            head = [("x-fn-status", str(answer.status))]
            if answer.content_type is not None:
                head.append(("x-fn-ct", answer.content_type))
            head += [("x-fn-h", f"{name}={quote(value, safe=' /;=,:')}") for name, value in answer.headers]
            await context.send_initial_metadata(head if answer.metadata is None else answer.metadata)
            for index, chunk in enumerate(answer.chunks):
                if (index or answer.late) and answer.between is not None:
                    await answer.between()
                await context.write(chunk if chunk == RESET else HttpBody(data=chunk).SerializeToString())
        except asyncio.CancelledError:
            seen.cancelled = True
            raise
        finally:
            self.active -= 1

    async def unary(self, request: HttpBody, context: Any) -> None:
        async def one() -> AsyncIterator[HttpBody]:
            yield request

        await self._run("unary", one(), context)

    async def stream(self, requests: AsyncIterator[HttpBody], context: Any) -> None:
        await self._run("stream", requests, context)

    def register(self, server: grpc.aio.Server) -> None:
        handlers = {
            "InvokeHttp": grpc.unary_stream_rpc_method_handler(
                self.unary, request_deserializer=HttpBody.FromString, response_serializer=bytes
            ),
            "InvokeHttpStream": grpc.stream_stream_rpc_method_handler(
                self.stream, request_deserializer=HttpBody.FromString, response_serializer=bytes
            ),
        }
        generic = grpc.method_handlers_generic_handler("fnmesh.internal.invoke.v1.HttpService", handlers)
        server.add_generic_rpc_handlers((generic,))


class Echo(grpc.GenericRpcHandler):
    """Answers any unary method with the bytes it was sent, and records what came."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls: list[tuple[str, dict[str, str]]] = []

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if "/fnmesh.internal.invoke" in details.method:
            return None

        async def handle(request: bytes, context: Any) -> bytes:
            metadata = {key: str(value) for key, value in context.invocation_metadata()}
            self.calls.append((details.method, metadata))
            context.set_trailing_metadata((("x-served-by", self.name),))
            return request

        return grpc.unary_unary_rpc_method_handler(handle)


@asynccontextmanager
async def fake_service(
    address: str, *, invoke: FakeInvoke | None = None, echo: Echo | None = None
) -> AsyncIterator[str]:
    """A gRPC server with the fakes; yields its address."""
    server = grpc.aio.server(options=METADATA_LIMITS)
    if invoke is not None:
        invoke.register(server)
    if echo is not None:
        server.add_generic_rpc_handlers((echo,))
    port = server.add_insecure_port(address)
    await server.start()
    try:
        yield address if address.startswith("unix:") else f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@dataclass
class Door:
    """The running whole."""

    settings: GatewaySettings
    host: str
    port: int
    invoke: FakeInvoke
    echoes: dict[str, Echo]
    envoy: asyncio.subprocess.Process
    run_dir: Path

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def target(self) -> str:
        return f"{self.host}:{self.port}"

    def client(self, **options: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=30, trust_env=False, **options)


def gateway_settings(run_dir: Path, **fields: Any) -> GatewaySettings:
    """Settings of a gateway in a directory of its own; Envoy picks its port."""
    (run_dir / "m").mkdir(mode=0o700, exist_ok=True)
    (run_dir / "token").write_text(TOKEN)
    fixed = {"data_dir": run_dir / "data", "run_dir": run_dir, "gateway_cache_dir": envoy_cache()}
    values = {**fixed, "gateway_listen": "127.0.0.1:0", **fields}
    return GatewaySettings(**values)


def environment_of(settings: GatewaySettings) -> dict[str, str]:
    """The settings as a process of the gateway reads them."""
    fields = settings.model_dump(mode="json", exclude_unset=True)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("FNMESH_", "OTEL_"))}
    return environ | {f"FNMESH_{name.upper()}": str(value) for name, value in fields.items()}


@asynccontextmanager
async def running_envoy(settings: GatewaySettings) -> AsyncIterator[asyncio.subprocess.Process]:
    """Envoy for a gateway; killed at the end if it has not ended itself."""
    path = settings.run_dir / "bootstrap.pb"
    maker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "bootstrap", "--out", path, env=environment_of(settings)
    )
    assert await maker.wait() == 0
    log = settings.run_dir / "envoy.log"
    with log.open("wb") as output:
        envoy = await asyncio.create_subprocess_exec(*envoy_command(path), stdout=output, stderr=output)
    try:
        yield envoy
    finally:
        with contextlib.suppress(ProcessLookupError):
            envoy.kill()
        await envoy.wait()


async def listening(settings: GatewaySettings, deadline_s: float = 15) -> tuple[str, int]:
    """Where Envoy listens, once it does."""

    async def probe() -> tuple[str, int] | None:
        try:
            found = await admin.listen_address(settings.gateway_admin_socket)
            if found is not None:  # Envoy names a listener before its workers listen
                _, writer = await asyncio.open_connection(*found)
                writer.close()
        except (admin.AdminError, ConnectionRefusedError):
            return None
        return found

    try:
        found = await eventually(probe, deadline_s)
    except AssertionError:
        raise AssertionError((settings.run_dir / "envoy.log").read_text()) from None
    assert found is not None
    return found


@asynccontextmanager
async def open_door(
    run_dir: Path,
    *,
    services: Sequence[str] = SERVICES,
    beside: Callable[[GatewaySettings], AbstractAsyncContextManager[object]] | None = None,
    **fields: Any,
) -> AsyncIterator[Door]:
    """Gateway, Envoy, and one fake of each service, all joined; `beside` starts what is to be in a fake's place."""
    settings = gateway_settings(run_dir, **fields)
    token = ServiceToken(TOKEN)
    invoke = FakeInvoke("first")
    echoes = {name: Echo(name) for name in services}
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app(settings))
        envoy = await stack.enter_async_context(running_envoy(settings))
        for name, echo in echoes.items():
            address = await stack.enter_async_context(
                fake_service(
                    f"unix:{run_dir}/m/{name}.sock",
                    invoke=invoke if name == "invoke" else None,
                    echo=echo,
                )
            )
            await stack.enter_async_context(joined(settings.gateway_address, name, address, token=token))
        if beside is not None:
            await stack.enter_async_context(beside(settings))
        host, port = await listening(settings)
        yield Door(settings, host, port, invoke, echoes, envoy, run_dir)
