"""The whole public API behind one address: its descriptors for reflection, its health by members."""

from __future__ import annotations

import importlib

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from gateway.envoy.spec import GATEWAY_CLUSTER, PUBLIC_SERVICES

_Status = health_pb2.HealthCheckResponse.ServingStatus
API_SERVICES = tuple(service for service in PUBLIC_SERVICES if service.startswith("fnmesh."))
_STUBS = (
    "fnmesh.registry.v1.registry_service_pb2",
    "fnmesh.build.v1.build_service_pb2",
    "fnmesh.deploy.v1.deploy_service_pb2",
    "fnmesh.invoke.v1.invoke_service_pb2",
    "fnmesh.trace.v1.trace_service_pb2",
)


def load_descriptors() -> None:
    """Puts the public services into the descriptor pool that reflection answers from."""
    for stub in _STUBS:
        importlib.import_module(stub)


class AggregatedHealth:
    """Health of every public service: SERVING while it has a member. Unknown names are NOT_FOUND.

    The empty name is the gateway itself.
    """

    def __init__(self) -> None:
        self._servicer = health.aio.HealthServicer()

    def register(self, server: grpc.aio.Server) -> None:
        """Adds it to a server, before any other health service: the first one answers."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def update(self, missing: tuple[str, ...], *, stopping: bool = False) -> None:
        """Says which services have no member now."""
        await self._servicer.set("", _Status.NOT_SERVING if stopping else _Status.SERVING)
        for service, cluster in PUBLIC_SERVICES.items():
            up = not stopping and (cluster == GATEWAY_CLUSTER or cluster not in missing)
            await self._servicer.set(service, _Status.SERVING if up else _Status.NOT_SERVING)
