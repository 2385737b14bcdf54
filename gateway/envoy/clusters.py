"""Clusters: the services (endpoints by EDS), the gateway itself, the REST facade, a collector.

Imports envoy-data-plane: only for the compile step and the bootstrap.
"""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    Cluster,
    ClusterCommonLbConfig,
    ClusterDiscoveryType,
    ClusterDnsLookupFamily,
    ClusterEdsClusterConfig,
    ClusterLbPolicy,
)
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    AggregatedConfigSource,
    ApiVersion,
    ConfigSource,
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    HttpProtocolOptions,
    KeepaliveSettings,
    Pipe,
    SocketAddress,
    TransportSocket,
)
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import CommonTlsContext, UpstreamTlsContext
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions as UpstreamProtocolOptions,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import HttpProtocolOptionsExplicitHttpConfig
from envoy_data_plane.envoy.type.v3 import Percent
from envoy_data_plane.google.protobuf import Any

from gateway.envoy.spec import (
    ADMIN_CLUSTER,
    ADS_CLUSTER,
    COLLECTOR_CLUSTER,
    GATEWAY_CLUSTER,
    REST_CLUSTER,
    SERVICES,
    Collector,
    EnvoySpec,
)
from mesh import addresses

_PROTOCOL = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
# invoke_svc answers with the workload's headers percent-encoded, so up to three times their size.
_MAX_RESPONSE_HEADERS_KB = 384
_MAX_HEADERS = 1000
# Admission is the services' own business (bounded queues, 429): Envoy only guards itself.
_MAX_IN_FLIGHT = 65_536


def ads_source() -> ConfigSource:
    """Says that a resource comes over the ADS stream."""
    return ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)


def address_of(text: str) -> Address:
    """Turns one of `mesh.addresses` into Envoy's address."""
    if text.startswith("unix:"):
        return Address(pipe=Pipe(path=text.removeprefix("unix:")))
    host, port = addresses.host_and_port(text)
    return Address(socket_address=SocketAddress(address=host, port_value=port))


def _limits() -> CircuitBreakers:
    return CircuitBreakers(
        thresholds=[
            CircuitBreakersThresholds(
                max_connections=_MAX_IN_FLIGHT,
                max_pending_requests=_MAX_IN_FLIGHT,
                max_requests=_MAX_IN_FLIGHT,
                max_retries=1024,
            )
        ]
    )


def _protocol(*, http2: bool, keepalive: bool = False) -> dict[str, Any]:
    if http2:
        ping = KeepaliveSettings(interval=timedelta(seconds=5), timeout=timedelta(seconds=5)) if keepalive else None
        explicit = HttpProtocolOptionsExplicitHttpConfig(
            http2_protocol_options=Http2ProtocolOptions(connection_keepalive=ping)
        )
    else:
        explicit = HttpProtocolOptionsExplicitHttpConfig(http_protocol_options=Http1ProtocolOptions())
    options = UpstreamProtocolOptions(
        common_http_protocol_options=HttpProtocolOptions(
            max_headers_count=_MAX_HEADERS,
            max_response_headers_kb=_MAX_RESPONSE_HEADERS_KB,
            # The other end keeps those of HTTP/1 for longer: a request never meets the end of its connection.
            idle_timeout=None if http2 else timedelta(seconds=30),
        ),
        explicit_http_config=explicit,
    )
    return {_PROTOCOL: Any.pack(options)}


def _fixed(name: str, address: str, *, http2: bool, keepalive: bool = False) -> Cluster:
    places = addresses.split(address)
    return Cluster(
        name=name,
        # A name is looked up again and again: it may come to mean other processes.
        type=ClusterDiscoveryType.STRICT_DNS if addresses.is_name(places[0]) else ClusterDiscoveryType.STATIC,
        dns_lookup_family=ClusterDnsLookupFamily.V4_PREFERRED,
        connect_timeout=timedelta(seconds=2),
        circuit_breakers=_limits(),
        typed_extension_protocol_options=_protocol(http2=http2, keepalive=keepalive),
        load_assignment=ClusterLoadAssignment(
            cluster_name=name,
            endpoints=[
                LocalityLbEndpoints(
                    lb_endpoints=[LbEndpoint(endpoint=Endpoint(address=address_of(one))) for one in places],
                )
            ],
        ),
    )


def ads_cluster(spec: EnvoySpec) -> Cluster:
    """The one cluster of the bootstrap: the gateway, as the source of all others."""
    return _fixed(ADS_CLUSTER, spec.gateway_address, http2=True, keepalive=True)


def _service(name: str) -> Cluster:
    return Cluster(
        name=name,
        type=ClusterDiscoveryType.EDS,
        eds_cluster_config=ClusterEdsClusterConfig(eds_config=ads_source()),
        connect_timeout=timedelta(seconds=2),
        lb_policy=ClusterLbPolicy.LEAST_REQUEST,
        circuit_breakers=_limits(),
        typed_extension_protocol_options=_protocol(http2=True),
        # No health checks: membership is the health. Never spread over members said to be gone.
        common_lb_config=ClusterCommonLbConfig(healthy_panic_threshold=Percent(value=0.0)),
        ignore_health_on_host_removal=True,
    )


def _collector(collector: Collector) -> Cluster:
    cluster = _fixed(COLLECTOR_CLUSTER, f"{collector.host}:{collector.port}", http2=True)
    if collector.tls:
        tls = UpstreamTlsContext(
            sni=collector.host,
            common_tls_context=CommonTlsContext(alpn_protocols=["h2"]),
        )
        cluster.transport_socket = TransportSocket(name="envoy.transport_sockets.tls", typed_config=Any.pack(tls))
    return cluster


def clusters(spec: EnvoySpec) -> list[Cluster]:
    """All clusters that are sent by CDS."""
    found = [_service(name) for name in SERVICES]
    found.append(_fixed(GATEWAY_CLUSTER, spec.gateway_address, http2=True))
    found.append(_fixed(REST_CLUSTER, spec.rest_address, http2=False))
    if spec.stats is not None:
        found.append(_fixed(ADMIN_CLUSTER, f"unix:{spec.admin_socket}", http2=False))
    if spec.collector is not None:
        found.append(_collector(spec.collector))
    return found
