"""The HTTP filters: guard, lane, transcoder, router.

Imports envoy-data-plane: only for the compile step.
"""

from __future__ import annotations

from pathlib import Path

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation as Mutation
from envoy_data_plane.envoy.config.core.v3 import (
    DataSource,
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
)
from envoy_data_plane.envoy.extensions.filters.http.grpc_json_transcoder.v3 import GrpcJsonTranscoder
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import HeaderMutation, Mutations
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import Lua
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.google.protobuf import Any
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor

from fnmesh.internal.invoke.v1 import http_service_pb2
from gateway.envoy.spec import HTTP_SERVICE, TRACE_HEADER

GUARD_FILTER = "fnmesh.guard"
LANE_FILTER = "fnmesh.lane"
TRANSCODER_FILTER = "envoy.filters.http.grpc_json_transcoder"
_HERE = Path(__file__).parent
# A unary request is at most 64 KiB by the lane's choice; a GET that brings more without saying so stops here.
_MAX_UNARY_BYTES = 1 << 20
# One message of the answer, not the whole of it.
_MAX_MESSAGE_BYTES = 64 << 20


def descriptor_set() -> bytes:
    """The transcoder's FileDescriptorSet of `HttpService`, imports first, from the installed stubs."""
    found: dict[str, FileDescriptor] = {}

    def visit(file: FileDescriptor) -> None:
        if file.name in found:
            return
        for imported in file.dependencies:
            visit(imported)
        found[file.name] = file

    visit(http_service_pb2.DESCRIPTOR)
    files = descriptor_pb2.FileDescriptorSet()
    for file in found.values():
        file.CopyToProto(files.file.add())
    return files.SerializeToString()


def _lua(file_name: str) -> Lua:
    return Lua(
        default_source_code=DataSource(inline_string=(_HERE / file_name).read_text("utf-8")),
        # The route was chosen by the path the client sent; the lane's rewriting must not change it.
        clear_route_cache=False,
    )


def _trace_header(name: str) -> Mutation:
    option = HeaderValueOption(
        header=HeaderValue(key=name, value="%TRACE_ID%"),
        append_action=HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    return Mutation(append=option)


def _trace_id() -> HeaderMutation:
    """Every answer says which trace it belongs to, sampled or not: those that Envoy makes itself, too.

    Being first, it sees an answer last. The request header is for the bodies of Envoy's errors, in which
    %TRACE_ID% is empty; the services get it, too.
    """
    mutations = Mutations(
        request_mutations=[_trace_header(TRACE_HEADER)],
        response_mutations=[_trace_header("x-trace-id")],
    )
    return HeaderMutation(mutations=mutations)


def http_filters() -> list[HttpFilter]:
    """The filter chain. The guard and the lane's pair are off unless a route turns them on."""
    transcoder = GrpcJsonTranscoder(
        proto_descriptor_bin=descriptor_set(),
        services=[HTTP_SERVICE],
        match_incoming_request_route=True,
        ignore_unknown_query_parameters=True,
        convert_grpc_status=True,
        max_request_body_size=_MAX_UNARY_BYTES,
        max_response_body_size=_MAX_MESSAGE_BYTES,
    )
    return [
        HttpFilter(name="fnmesh.trace_id", typed_config=Any.pack(_trace_id())),
        HttpFilter(name=GUARD_FILTER, typed_config=Any.pack(_lua("guard.lua")), disabled=True),
        HttpFilter(name=LANE_FILTER, typed_config=Any.pack(_lua("lane.lua")), disabled=True),
        HttpFilter(name=TRANSCODER_FILTER, typed_config=Any.pack(transcoder), disabled=True),
        HttpFilter(
            name="envoy.filters.http.router",
            typed_config=Any.pack(Router(suppress_envoy_headers=True)),
        ),
    ]
