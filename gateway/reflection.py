"""The whole public API behind one address: its descriptors for reflection, its health by members."""

from __future__ import annotations

import importlib
from typing import Protocol

from gateway.envoy.spec import GATEWAY_CLUSTER, PUBLIC_SERVICES

API_SERVICES = tuple(service for service in PUBLIC_SERVICES if service.startswith("fnmesh."))
_STUBS = (
    "fnmesh.registry.v1.registry_service_pb2",
    "fnmesh.build.v1.build_service_pb2",
    "fnmesh.deploy.v1.deploy_service_pb2",
    "fnmesh.deploy.v1.usage_service_pb2",
    "fnmesh.invoke.v1.invoke_service_pb2",
    "fnmesh.invoke.v1.job_service_pb2",
    "fnmesh.invoke.v1.schedule_service_pb2",
    "fnmesh.invoke.v1.stats_service_pb2",
    "fnmesh.trace.v1.trace_service_pb2",
)


def load_descriptors() -> None:
    """Puts the public services into the descriptor pool that reflection answers from."""
    for stub in _STUBS:
        importlib.import_module(stub)


class ServingFlags(Protocol):
    """The health service of a server."""

    async def set_service_serving(self, service: str, serving: bool) -> None:
        """What it says of one name."""
        ...


class AggregatedHealth:
    """Health of every public service: SERVING while it has a member. Unknown names are NOT_FOUND.

    The empty name is the gateway itself.
    """

    def __init__(self) -> None:
        self._flags: ServingFlags | None = None
        self._missing: tuple[str, ...] = ()

    async def attach(self, flags: ServingFlags) -> None:
        """From here on the server's health service says it."""
        self._flags = flags
        await self.update(self._missing)

    async def update(self, missing: tuple[str, ...]) -> None:
        """Says which services have no member now."""
        self._missing = missing
        if self._flags is not None:
            for service, cluster in PUBLIC_SERVICES.items():
                if cluster != GATEWAY_CLUSTER:
                    await self._flags.set_service_serving(service, cluster not in missing)
