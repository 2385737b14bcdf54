"""The HTTP filters: guard, lane, transcoder, router.

Imports envoy-data-plane: only for the compile step.
"""

from __future__ import annotations

from pathlib import Path

from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.extensions.filters.http.grpc_json_transcoder.v3 import GrpcJsonTranscoder
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import Lua
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.google.protobuf import Any
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor

from fnmesh.internal.invoke.v1 import http_service_pb2
from gateway.envoy.spec import HTTP_SERVICE

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
        HttpFilter(name=GUARD_FILTER, typed_config=Any.pack(_lua("guard.lua")), disabled=True),
        HttpFilter(name=LANE_FILTER, typed_config=Any.pack(_lua("lane.lua")), disabled=True),
        HttpFilter(name=TRANSCODER_FILTER, typed_config=Any.pack(transcoder), disabled=True),
        HttpFilter(
            name="envoy.filters.http.router",
            typed_config=Any.pack(Router(suppress_envoy_headers=True)),
        ),
    ]
