"""Envoy's own spans.

Imports envoy-data-plane: only for the compile step.
"""

from __future__ import annotations

from envoy_data_plane.envoy.config.core.v3 import GrpcService, GrpcServiceEnvoyGrpc, HeaderValue
from envoy_data_plane.envoy.config.trace.v3 import OpenTelemetryConfig, TracingHttp
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManagerTracing,
)
from envoy_data_plane.envoy.type.tracing.v3 import CustomTag
from envoy_data_plane.envoy.type.v3 import Percent
from envoy_data_plane.google.protobuf import Any

from gateway.envoy.spec import COLLECTOR_CLUSTER, GATEWAY_CLUSTER, TOKEN_HEADER, EnvoySpec

_METHOD = "%REQ(x-fn-method?:method)%"
_PATH = "%DYNAMIC_METADATA(fnmesh.gateway:path)%"


def _exporter(spec: EnvoySpec) -> GrpcService:
    if spec.collector is None:
        cluster, headers = GATEWAY_CLUSTER, [(TOKEN_HEADER, spec.service_token)]
    else:
        cluster, headers = COLLECTOR_CLUSTER, list(spec.collector.headers)
    return GrpcService(
        envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=cluster),
        initial_metadata=[HeaderValue(key=name, value=value) for name, value in headers],
    )


def tracing(spec: EnvoySpec) -> HttpConnectionManagerTracing:
    """A span for each request. Which are recorded is decided by the runtime value `tracing.random_sampling`."""
    tracer = OpenTelemetryConfig(grpc_service=_exporter(spec), service_name="envoy")
    return HttpConnectionManagerTracing(
        provider=TracingHttp(name="envoy.tracers.opentelemetry", typed_config=Any.pack(tracer)),
        random_sampling=Percent(value=100.0),
        # `x-client-trace-id` is not a way to be recorded.
        client_sampling=Percent(value=0.0),
        # The path as the client sent it, from the Lua filters (the lane has rewritten :path by then), and never
        # the query: it may hold secrets.
        operation=f"{_METHOD} {_PATH}",
        custom_tags=[
            CustomTag(tag="http.request.method", value=_METHOD),
            CustomTag(tag="url.path", value=_PATH),
        ],
        spawn_upstream_span=False,
    )
