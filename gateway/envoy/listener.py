"""The listener: one port for HTTP/1.1 and HTTP/2, plain or TLS, and how strict it is.

Imports envoy-data-plane: only for the compile step.
"""

from __future__ import annotations

from datetime import timedelta

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation as Mutation
from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutationRemoveOnMatch
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    DataSource,
    HeaderValue,
    HeaderValueOption,
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    HttpProtocolOptions,
    HttpProtocolOptionsHeadersWithUnderscoresAction,
    SocketAddress,
    TransportSocket,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerInternalAddressConfig,
    Rds,
    RequestIdExtension,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManagerCodecType as CodecType,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManagerPathWithEscapedSlashesAction as EscapedSlashes,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManagerServerHeaderTransformation as ServerHeader,
)
from envoy_data_plane.envoy.extensions.http.early_header_mutation.header_mutation.v3 import HeaderMutation
from envoy_data_plane.envoy.extensions.request_id.uuid.v3 import UuidRequestIdConfig
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CommonTlsContext,
    DownstreamTlsContext,
    TlsCertificate,
    TlsParameters,
    TlsParametersTlsProtocol,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Any

from gateway.envoy.clusters import ads_source
from gateway.envoy.filters import http_filters
from gateway.envoy.local_replies import local_replies
from gateway.envoy.spec import LISTENER, ROUTES, EnvoySpec
from gateway.envoy.tracing import tracing

# Headers by which the mesh and Envoy speak among themselves: from a client they are removed before anything
# looks at them.
_INTERNAL_PREFIXES = ("x-fn-", "x-envoy-", "x-fnmesh-")


def _early_headers() -> TypedExtensionConfig:
    mutations = [
        Mutation(remove_on_match=HeaderMutationRemoveOnMatch(key_matcher=StringMatcher(prefix=prefix)))
        for prefix in _INTERNAL_PREFIXES
    ]
    # Envoy drops the one and replaces the other; the lane needs both: a GET with a chunked body looks like one
    # without otherwise.
    for name, source in (("x-fn-chunked", "transfer-encoding"), ("x-fn-client-request-id", "x-request-id")):
        mutations.append(Mutation(append=HeaderValueOption(header=HeaderValue(key=name, value=f"%REQ({source})%"))))
    mutations.append(Mutation(remove="x-request-id"))
    return TypedExtensionConfig(
        name="fnmesh.early_headers",
        typed_config=Any.pack(HeaderMutation(mutations=mutations)),
    )


def _request_ids() -> RequestIdExtension:
    config = UuidRequestIdConfig(pack_trace_reason=False, use_request_id_for_trace_sampling=True)
    return RequestIdExtension(typed_config=Any.pack(config))


def _connection_manager(spec: EnvoySpec) -> HttpConnectionManager:
    return HttpConnectionManager(
        codec_type=CodecType.AUTO,
        stat_prefix=LISTENER,
        rds=Rds(config_source=ads_source(), route_config_name=ROUTES),
        http_filters=http_filters(),
        tracing=tracing(spec),
        local_reply_config=local_replies(),
        early_header_mutation_extensions=[_early_headers()],
        # The path reaches the handler as it was sent. Routes look at fixed prefixes only, so nothing behind
        # them can be reached by another spelling.
        normalize_path=False,
        merge_slashes=False,
        path_with_escaped_slashes_action=EscapedSlashes.KEEP_UNCHANGED,
        server_header_transformation=ServerHeader.PASS_THROUGH,
        use_remote_address=True,
        # Envoy would write its own address for a client on this machine: the routes append the real one.
        skip_xff_append=True,
        internal_address_config=HttpConnectionManagerInternalAddressConfig(unix_sockets=False),
        # Envoy chooses by the request id whether a request is traced, so it must be one of its own making; the
        # client's has been put aside by then, and the lane puts it back.
        generate_request_id=True,
        request_id_extension=_request_ids(),
        max_request_headers_kb=spec.max_request_headers_kb,
        request_headers_timeout=timedelta(seconds=spec.request_head_s),
        stream_idle_timeout=timedelta(seconds=300),
        delayed_close_timeout=timedelta(seconds=1),
        drain_timeout=timedelta(seconds=5),
        common_http_protocol_options=HttpProtocolOptions(
            idle_timeout=timedelta(seconds=600),
            max_headers_count=200,
            headers_with_underscores_action=HttpProtocolOptionsHeadersWithUnderscoresAction.ALLOW,
        ),
        http_protocol_options=Http1ProtocolOptions(allow_custom_methods=True),
        http2_protocol_options=Http2ProtocolOptions(
            max_concurrent_streams=1024,
            initial_stream_window_size=1 << 20,
            initial_connection_window_size=8 << 20,
        ),
    )


def _tls(spec: EnvoySpec) -> TransportSocket | None:
    if not spec.tls_cert_file:
        return None
    context = DownstreamTlsContext(
        common_tls_context=CommonTlsContext(
            alpn_protocols=["h2", "http/1.1"],
            tls_params=TlsParameters(tls_minimum_protocol_version=TlsParametersTlsProtocol.TLSv1_2),
            tls_certificates=[
                TlsCertificate(
                    certificate_chain=DataSource(filename=spec.tls_cert_file),
                    private_key=DataSource(filename=spec.tls_key_file),
                )
            ],
        )
    )
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=Any.pack(context))


def listener(spec: EnvoySpec) -> Listener:
    """The one listener."""
    manager = Filter(
        name="envoy.filters.network.http_connection_manager",
        typed_config=Any.pack(_connection_manager(spec)),
    )
    return Listener(
        name=LISTENER,
        address=Address(
            socket_address=SocketAddress(address=spec.listen_host, port_value=spec.listen_port),
        ),
        filter_chains=[FilterChain(filters=[manager], transport_socket=_tls(spec))],
        per_connection_buffer_limit_bytes=1 << 20,
    )
