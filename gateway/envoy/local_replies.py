"""Envoy's own errors, in the shape that all errors of the mesh have.

Imports envoy-data-plane: only for the compile step.
"""

from __future__ import annotations

from dataclasses import dataclass

from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLogFilter,
    AndFilter,
    ComparisonFilter,
    ComparisonFilterOp,
    HeaderFilter,
    StatusCodeFilter,
)
from envoy_data_plane.envoy.config.core.v3 import DataSource, RuntimeUInt32, SubstitutionFormatString
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    LocalReplyConfig,
    ResponseMapper,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Struct

from gateway.envoy.routes import set_header
from gateway.envoy.spec import TRACE_HEADER


@dataclass(frozen=True)
class _Reply:
    status: int
    code: str
    reason: str
    detail: str
    retry_after_s: int | None = None


_REPLIES = (
    _Reply(400, "INVALID_ARGUMENT", "BAD_REQUEST", "The request is not valid HTTP."),
    _Reply(404, "NOT_FOUND", "ROUTE_NOT_FOUND", "There is nothing at this path; functions are below /api/."),
    _Reply(408, "DEADLINE_EXCEEDED", "REQUEST_TIMEOUT", "The request did not arrive in time."),
    _Reply(413, "RESOURCE_EXHAUSTED", "BODY_TOO_LARGE", "The body is larger than this call takes."),
    _Reply(426, "FAILED_PRECONDITION", "HTTP_VERSION", "HTTP/1.1 or HTTP/2 is needed."),
    _Reply(431, "RESOURCE_EXHAUSTED", "HEADERS_TOO_LARGE", "The headers are larger than the mesh takes."),
    _Reply(501, "UNIMPLEMENTED", "NOT_IMPLEMENTED", "No transfer encoding but 'chunked' is understood here."),
    _Reply(502, "UNAVAILABLE", "BAD_UPSTREAM", "A service of the mesh gave an answer that is not valid."),
    _Reply(503, "UNAVAILABLE", "SERVICE_UNAVAILABLE", "A service of the mesh cannot be reached; try again.", 1),
    _Reply(504, "DEADLINE_EXCEEDED", "TIMEOUT", "No answer came in time."),
)


def _status(status: int) -> AccessLogFilter:
    comparison = ComparisonFilter(
        op=ComparisonFilterOp.EQ,
        value=RuntimeUInt32(default_value=status, runtime_key=f"fnmesh.status.{status}"),
    )
    return AccessLogFilter(status_code_filter=StatusCodeFilter(comparison=comparison))


def _header(name: str, value: StringMatcher | None = None) -> AccessLogFilter:
    matcher = HeaderMatcher(name=name, string_match=value) if value else HeaderMatcher(name=name, present_match=True)
    return AccessLogFilter(header_filter=HeaderFilter(header=matcher))


def _grpc_client() -> AccessLogFilter:
    """A client that speaks gRPC. In the lane every request does by then: those have a method of their own."""
    lane = AccessLogFilter(
        header_filter=HeaderFilter(header=HeaderMatcher(name="x-fn-method", present_match=True, invert_match=True))
    )
    grpc = _header("content-type", StringMatcher(prefix="application/grpc"))
    return AccessLogFilter(and_filter=AndFilter(filters=[grpc, lane]))


def _body(code: str, reason: str, detail: str) -> SubstitutionFormatString:
    fields = {"detail": detail, "code": code, "reason": reason, "trace_id": f"%REQ({TRACE_HEADER})%"}
    return SubstitutionFormatString(json_format=Struct.from_dict(fields), content_type="application/json")


def local_replies() -> LocalReplyConfig:
    """HTTP errors as `{"detail", "code", "reason", "trace_id"}`; gRPC ones stay a plain grpc-message."""
    mappers = [
        ResponseMapper(
            filter=_grpc_client(),
            body_format_override=SubstitutionFormatString(
                text_format_source=DataSource(inline_string="%LOCAL_REPLY_BODY%"),
            ),
        ),
        ResponseMapper(
            filter=AccessLogFilter(and_filter=AndFilter(filters=[_status(403), _header("upgrade")])),
            body_format_override=_body("PERMISSION_DENIED", "UPGRADE_REFUSED", "Connections cannot be upgraded here."),
        ),
        ResponseMapper(
            filter=_status(403),
            body_format_override=_body(
                "PERMISSION_DENIED", "%DYNAMIC_METADATA(fnmesh.gateway:reason)%", "%LOCAL_REPLY_BODY%"
            ),
        ),
    ]
    for reply in _REPLIES:
        retry = [] if reply.retry_after_s is None else [set_header("retry-after", str(reply.retry_after_s))]
        mappers.append(
            ResponseMapper(
                filter=_status(reply.status),
                body_format_override=_body(reply.code, reply.reason, reply.detail),
                headers_to_add=retry,
            )
        )
    return LocalReplyConfig(mappers=mappers, body_format=_body("UNKNOWN", "GATEWAY_ERROR", "%LOCAL_REPLY_BODY%"))
