"""Envoy's bootstrap: where its resources come from, its admin socket, its runtime layers. Nothing else.

Imports envoy-data-plane, so import it where it is needed, not at the top of a service.
"""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.bootstrap.v3 import (
    Admin,
    Bootstrap,
    BootstrapDynamicResources,
    BootstrapStaticResources,
    LayeredRuntime,
    RuntimeLayer,
    RuntimeLayerAdminLayer,
    RuntimeLayerRtdsLayer,
)
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    ApiConfigSource,
    ApiConfigSourceApiType,
    ApiVersion,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    HeaderValue,
    Node,
    Pipe,
)
from envoy_data_plane.envoy.config.overload.v3 import OverloadManager, ResourceMonitor
from envoy_data_plane.envoy.extensions.resource_monitors.downstream_connections.v3 import (
    DownstreamConnectionsConfig,
)
from envoy_data_plane.google.protobuf import Any, Struct

from gateway.envoy.clusters import ads_cluster, ads_source
from gateway.envoy.spec import ADS_CLUSTER, RUNTIME_LAYER, TOKEN_HEADER, EnvoySpec

_MAX_CONNECTIONS = 16_384
_RUNTIME = {
    # A person who has just made a request looks for its trace: spans leave twice a second, or 50 at a time.
    "tracing.opentelemetry.flush_interval_ms": 500,
    "tracing.opentelemetry.min_flush_spans": 50,
    # What follows a chunk must be its end of line: a proxy before this one might see another request in it.
    "envoy.reloadable_features.strict_chunk_parsing": True,
}


def bootstrap(spec: EnvoySpec) -> Bootstrap:
    """The bootstrap as a typed message."""
    ads = ApiConfigSource(
        api_type=ApiConfigSourceApiType.DELTA_GRPC,
        transport_api_version=ApiVersion.V3,
        set_node_on_first_message_only=True,
        grpc_services=[
            GrpcService(
                envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=ADS_CLUSTER),
                initial_metadata=[HeaderValue(key=TOKEN_HEADER, value=spec.service_token)],
            )
        ],
    )
    runtime = ads_source()
    # Sampling is no reason to start later.
    runtime.initial_fetch_timeout = timedelta(seconds=1)
    return Bootstrap(
        node=Node(id="door", cluster="fnmesh"),
        static_resources=BootstrapStaticResources(clusters=[ads_cluster(spec)]),
        dynamic_resources=BootstrapDynamicResources(ads_config=ads, cds_config=ads_source(), lds_config=ads_source()),
        overload_manager=OverloadManager(
            resource_monitors=[
                ResourceMonitor(
                    name="envoy.resource_monitors.global_downstream_max_connections",
                    typed_config=Any.pack(
                        DownstreamConnectionsConfig(max_active_downstream_connections=_MAX_CONNECTIONS)
                    ),
                )
            ]
        ),
        layered_runtime=LayeredRuntime(
            layers=[
                RuntimeLayer(name="fixed", static_layer=Struct.from_dict(_RUNTIME)),
                RuntimeLayer(
                    name=RUNTIME_LAYER,
                    rtds_layer=RuntimeLayerRtdsLayer(name=RUNTIME_LAYER, rtds_config=runtime),
                ),
                RuntimeLayer(name="admin", admin_layer=RuntimeLayerAdminLayer()),
            ]
        ),
        admin=Admin(address=Address(pipe=Pipe(path=spec.admin_socket, mode=0o600))),
    )
