"""Resources as the ADS server holds them: a type, a name, bytes and a version made of the bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from google.protobuf.struct_pb2 import Struct

from fnmesh.internal.gateway.v1 import xds_pb2
from gateway.envoy.spec import RUNTIME_LAYER

_PREFIX = "type.googleapis.com/"
CLUSTER = _PREFIX + "envoy.config.cluster.v3.Cluster"
LISTENER = _PREFIX + "envoy.config.listener.v3.Listener"
ROUTE = _PREFIX + "envoy.config.route.v3.RouteConfiguration"
ENDPOINTS = _PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
RUNTIME = _PREFIX + "envoy.service.runtime.v3.Runtime"


@dataclass(frozen=True)
class Resource:
    """One resource of Envoy's."""

    type_url: str
    name: str
    body: bytes

    @cached_property
    def version(self) -> str:
        """Same bytes, same version: after a restart of the gateway Envoy is sent only what is different."""
        return hashlib.sha256(self.body).hexdigest()[:16]


def endpoints(cluster: str, addresses: Iterable[str]) -> Resource:
    """Where the members of a cluster are. Addresses are `unix:/path` or `ip:port`."""
    assignment = xds_pb2.ClusterLoadAssignment(cluster_name=cluster)
    locality = assignment.endpoints.add()
    for text in sorted(addresses):
        address = locality.lb_endpoints.add().endpoint.address
        if text.startswith("unix:"):
            address.pipe.path = text.removeprefix("unix:")
        else:
            host, _, port = text.rpartition(":")
            address.socket_address.address = host.strip("[]")
            address.socket_address.port_value = int(port)
    return Resource(ENDPOINTS, cluster, assignment.SerializeToString(deterministic=True))


def sampling(share: float) -> Resource:
    """The share of requests whose trace is recorded, 0 to 1 in steps of a ten-thousandth, as a runtime layer.

    (Envoy 1.40 takes this value with the denominator MILLION as "all".)
    """
    numerator = round(share * 10_000) or (1 if share > 0 else 0)
    layer = Struct()
    layer.update({"tracing.random_sampling": {"numerator": numerator, "denominator": "TEN_THOUSAND"}})
    runtime = xds_pb2.RuntimeLayer(name=RUNTIME_LAYER, layer=layer)
    return Resource(RUNTIME, RUNTIME_LAYER, runtime.SerializeToString(deterministic=True))
