"""The one channel of a client: metadata, deadlines, retries of what may be repeated, and typed errors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

from fnmesh.client.address import Address
from fnmesh.client.errors import Unavailable, Unreachable, from_rpc_error
from fnmesh.client.refusal import Refusal

if TYPE_CHECKING:
    from grpc.aio import UnaryStreamMultiCallable

Q = TypeVar("Q")
T = TypeVar("T")

# Repeating one of these changes nothing, so an answer of UNAVAILABLE or CANCELLED may be followed by another try.
_REPEATABLE: dict[str, tuple[str, ...]] = {
    "fnmesh.registry.v1.RegistryService": (
        "GetWorkspace", "ListWorkspaces", "GetFunction", "ListFunctions", "GetRevision", "ListRevisions",
        "ListApiKeys", "ListSecrets", "StopFunction", "CreateFunction",  # CreateFunction: by request_id
    ),
    "fnmesh.build.v1.BuildService": ("GetBuild", "ListBuilds", "CreateBuild"),  # CreateBuild: by request_id
    "fnmesh.deploy.v1.DeployService": ("GetDeployment", "ListTargets"),
    "fnmesh.invoke.v1.InvokeService": ("GetExecution", "ListExecutions"),
    "fnmesh.invoke.v1.JobService": ("GetJob", "ListJobs", "CreateJob", "CancelJob"),  # CreateJob: by request_id
    "fnmesh.invoke.v1.ScheduleService": ("GetSchedule", "ListSchedules"),
    "fnmesh.trace.v1.TraceService": ("GetTrace",),
}  # fmt: skip
_SERVICE_CONFIG = json.dumps(
    {
        "methodConfig": [
            {
                "name": [
                    {"service": service, "method": method}
                    for service, methods in _REPEATABLE.items()
                    for method in methods
                ],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    # CANCELLED by the other end: it stopped, and the call had not got to its handler.
                    "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
                },
            }
        ]
    }
)
_RESUME_WAITS_S = (0.1, 0.3, 0.6, *([1.0] * 14))  # a service that was killed is back within two or three seconds


class Connection:
    """A channel to a mesh. `call` and `stream` raise RpcFailed only."""

    def __init__(self, address: Address, api_key: str | None, timeout_s: float) -> None:
        self.address = address
        self._timeout_s = timeout_s
        self._metadata = (("authorization", f"Bearer {api_key}"),) if api_key else ()
        options = [
            ("grpc.service_config", _SERVICE_CONFIG),
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.max_reconnect_backoff_ms", 2_000),
        ]
        if address.target.startswith(("127.", "localhost", "[::1]")):
            options.append(("grpc.enable_http_proxy", 0))
        self.channel = (
            grpc.aio.secure_channel(address.target, grpc.ssl_channel_credentials(), options)
            if address.tls
            else grpc.aio.insecure_channel(address.target, options)
        )

    async def close(self) -> None:
        await self.channel.close()

    async def call(self, method: Callable[..., Awaitable[T]], request: Any, *, timeout_s: float | None = None) -> T:
        """One unary or client-streaming RPC, with a deadline."""
        call = method(request, timeout=timeout_s or self._timeout_s, metadata=self._metadata)
        refusal = Refusal(call) if isinstance(call, grpc.aio.StreamUnaryCall) else None
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            told = refusal.instead_of(error) if refusal is not None else error
            raise from_rpc_error(told, self.address.url) from None

    async def stream(
        self, method: UnaryStreamMultiCallable[Q, T], request: Q, *, timeout_s: float | None = None
    ) -> AsyncIterator[T]:
        """One server-streaming RPC, without a deadline unless one is given; ending early cancels it."""
        call = method(request, timeout=timeout_s, metadata=self._metadata)
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, self.address.url) from None
        finally:
            call.cancel()

    async def resumed(self, method: UnaryStreamMultiCallable[Q, T], make_request: Callable[[], Q]) -> AsyncIterator[T]:
        """A server-streaming RPC that is called again, with a new request, after every UNAVAILABLE.

        Gives up after several calls in a row (15 s in all) that brought nothing.
        """
        failures = 0
        while True:
            try:
                async for message in self.stream(method, make_request()):
                    failures = 0
                    yield message
                return
            except Unavailable as error:
                if failures == len(_RESUME_WAITS_S) or (failures == 0 and isinstance(error, Unreachable)):
                    raise
                await asyncio.sleep(_RESUME_WAITS_S[failures])
                failures += 1
