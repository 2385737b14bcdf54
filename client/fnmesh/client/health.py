"""Whether a mesh serves, asked over the standard health service."""

from __future__ import annotations

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fnmesh.client.connection import Connection
from fnmesh.client.errors import NotFound


async def check_health(connection: Connection, service: str = "") -> bool:
    """Whether all of the mesh (or one service, such as `fnmesh.build.v1.BuildService`) serves."""
    stub = health_pb2_grpc.HealthStub(connection.channel)
    try:
        answer = await connection.call(stub.Check, health_pb2.HealthCheckRequest(service=service), timeout_s=5.0)
    except NotFound:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def serves(target: str, timeout_s: float = 2.0) -> bool:
    """Whether a gRPC server at `unix:/path` or `host:port` says of itself that it serves."""
    async with grpc.aio.insecure_channel(target, [("grpc.enable_http_proxy", 0)]) as channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
        except grpc.aio.AioRpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
