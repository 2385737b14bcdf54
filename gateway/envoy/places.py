"""Where things are, taken out of what Envoy's configuration is compiled from and put into what comes out.

Sockets and the port are others in every mesh and change nothing else: with stand-ins for them one compiled
configuration does for all that are alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from fnmesh.internal.gateway.v1 import xds_pb2
from gateway.envoy.resources import CLUSTER, LISTENER, Resource
from gateway.envoy.spec import LISTENER as DOOR
from gateway.envoy.spec import EnvoySpec
from mesh import addresses

_UNIX = "unix:"


def taken_out(spec: EnvoySpec) -> EnvoySpec:
    """The spec with stand-ins. Where Envoy picks its port (0), it still does; what is reached over TCP stays."""
    stand_ins = {path: stand_in for stand_in, path in _sockets(spec).items()}
    return dataclasses.replace(
        spec,
        listen_port=1 if spec.listen_port else 0,
        gateway_address=_renamed(spec.gateway_address, stand_ins),
        rest_address=_renamed(spec.rest_address, stand_ins),
        admin_socket=stand_ins[spec.admin_socket],
    )


def put_into_bootstrap(spec: EnvoySpec, compiled: bytes) -> bytes:
    """The bootstrap of a spec, from the one that was compiled of `taken_out(spec)`."""
    bootstrap = xds_pb2.Bootstrap.FromString(compiled)
    sockets = _sockets(spec)
    _put(sockets, [bootstrap.admin.address])
    for cluster in bootstrap.static_resources.clusters:
        _put(sockets, _members(cluster))
    return bootstrap.SerializeToString(deterministic=True)


def put_into_resource(spec: EnvoySpec, compiled: Resource) -> Resource:
    """A resource of a spec, from the one that was compiled of `taken_out(spec)`."""
    message: xds_pb2.Cluster | xds_pb2.Listener
    if compiled.type_url == CLUSTER:
        message = xds_pb2.Cluster.FromString(compiled.body)
        _put(_sockets(spec), _members(message))
    elif compiled.type_url == LISTENER and compiled.name == DOOR and spec.listen_port:
        message = xds_pb2.Listener.FromString(compiled.body)
        message.address.socket_address.port_value = spec.listen_port
    else:
        return compiled
    return dataclasses.replace(compiled, body=message.SerializeToString(deterministic=True))


def _sockets(spec: EnvoySpec) -> dict[str, str]:
    """The path of each socket, by its stand-in."""
    places = [*addresses.split(spec.gateway_address), *addresses.split(spec.rest_address)]
    paths = [spec.admin_socket, *(place.removeprefix(_UNIX) for place in places if place.startswith(_UNIX))]
    return {f"/{number}": path for number, path in enumerate(dict.fromkeys(paths))}


def _renamed(several: str, stand_ins: dict[str, str]) -> str:
    found = addresses.split(several)
    return ",".join(
        _UNIX + stand_ins[place.removeprefix(_UNIX)] if place.startswith(_UNIX) else place for place in found
    )


def _members(cluster: xds_pb2.Cluster) -> list[xds_pb2.Address]:
    return [
        member.endpoint.address for locality in cluster.load_assignment.endpoints for member in locality.lb_endpoints
    ]


def _put(sockets: dict[str, str], found: Iterable[xds_pb2.Address]) -> None:
    for address in found:
        if address.HasField("pipe"):
            address.pipe.path = sockets[address.pipe.path]
