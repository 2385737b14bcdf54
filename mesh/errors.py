"""The one tree of errors, and its mapping to gRPC and HTTP.

    MeshError
    ├── InvalidArgument      400   the request is wrong whatever the state is (fields say where)
    ├── Unauthenticated      401   no key, or one that is not good
    ├── PermissionDenied     403   the key may not do this
    ├── NotFound             404
    ├── AlreadyExists        409
    ├── Aborted              409   somebody else was faster; read again and repeat
    ├── FailedPrecondition   400   not in the state that things are in
    ├── ResourceExhausted    429   too much, too many (may say when to retry)
    ├── Cancelled            499
    ├── Internal             500
    ├── Unimplemented        501
    ├── Unavailable          503   nothing has been done; retry (may say when)
    └── DeadlineExceeded     504

Handlers raise these and never call `context.abort`; `mesh.rpc_server` sends them as `google.rpc.Status` with
ErrorInfo {reason, domain "fnmesh", metadata}, and `mesh.rpc_client` raises the same ones at the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import grpc
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "fnmesh"
NOT_LEADER = "NOT_LEADER"
"""The reason of a process that stands by for another one: nothing was begun, and the next call reaches the next one."""
STATUS_DETAILS_KEY = "grpc-status-details-bin"


class MeshError(Exception):
    """An error that a caller is told of. `message` is for people and holds nothing secret.

    `reason` is UPPER_SNAKE_CASE and stable; `metadata` are strings for programs; `fields` maps a field's path
    to what is wrong with it; `retry_after_s` is set where waiting helps.
    """

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN
    http: ClassVar[int] = 500

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        fields: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
        **metadata: object,
    ) -> None:
        message = _on_one_line(message)
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.fields = {path: _on_one_line(text) for path, text in (fields or {}).items()}
        self.retry_after_s = retry_after_s
        self.metadata = {key: str(value) for key, value in metadata.items()}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.reason!r}, {self.message!r})"


def _on_one_line(text: str) -> str:
    """Messages quote what was sent: control characters of it are shown (`\\n`), not passed on to terminals and logs."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


class InvalidArgument(MeshError):
    code, http = grpc.StatusCode.INVALID_ARGUMENT, 400


class Unauthenticated(MeshError):
    code, http = grpc.StatusCode.UNAUTHENTICATED, 401


class PermissionDenied(MeshError):
    code, http = grpc.StatusCode.PERMISSION_DENIED, 403


class NotFound(MeshError):
    code, http = grpc.StatusCode.NOT_FOUND, 404


class AlreadyExists(MeshError):
    code, http = grpc.StatusCode.ALREADY_EXISTS, 409


class Aborted(MeshError):
    code, http = grpc.StatusCode.ABORTED, 409


class FailedPrecondition(MeshError):
    code, http = grpc.StatusCode.FAILED_PRECONDITION, 400


class ResourceExhausted(MeshError):
    code, http = grpc.StatusCode.RESOURCE_EXHAUSTED, 429


class Cancelled(MeshError):
    code, http = grpc.StatusCode.CANCELLED, 499


class Internal(MeshError):
    code, http = grpc.StatusCode.INTERNAL, 500


class Unimplemented(MeshError):
    code, http = grpc.StatusCode.UNIMPLEMENTED, 501


class Unavailable(MeshError):
    code, http = grpc.StatusCode.UNAVAILABLE, 503


class DeadlineExceeded(MeshError):
    code, http = grpc.StatusCode.DEADLINE_EXCEEDED, 504


_BY_CODE: dict[grpc.StatusCode, type[MeshError]] = {
    kind.code: kind
    for kind in (
        InvalidArgument, Unauthenticated, PermissionDenied, NotFound, AlreadyExists, Aborted, FailedPrecondition,
        ResourceExhausted, Cancelled, Internal, Unimplemented, Unavailable, DeadlineExceeded,
    )
}  # fmt: skip
_BY_CODE[grpc.StatusCode.OUT_OF_RANGE] = InvalidArgument
_BY_CODE[grpc.StatusCode.DATA_LOSS] = Internal
_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}


def to_status(error: MeshError) -> status_pb2.Status:
    """The error as it goes over the wire."""
    status = status_pb2.Status(code=error.code.value[0], message=error.message)
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    status.details.add().Pack(info)
    if error.fields:
        bad = error_details_pb2.BadRequest()
        for field, description in error.fields.items():
            bad.field_violations.add(field=field, description=description)
        status.details.add().Pack(bad)
    if error.retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(round(error.retry_after_s * 1000))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def from_status(status: status_pb2.Status) -> MeshError:
    """The error that a status says; reason is the code's name where the sender gave none."""
    code = _BY_NUMBER.get(status.code, grpc.StatusCode.UNKNOWN)
    kind = _BY_CODE.get(code, Internal)
    reason, metadata, fields, retry_after_s = code.name, dict[str, str](), dict[str, str](), None
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        bad = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(bad):
            fields = {one.field: one.description for one in bad.field_violations}
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToMilliseconds() / 1000
    error = kind(reason, status.message, fields=fields, retry_after_s=retry_after_s)
    error.metadata = metadata
    return error


def from_rpc_error(error: grpc.aio.AioRpcError) -> MeshError:
    """The error that a failed call means: what the other side raised, or what gRPC itself found."""
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_DETAILS_KEY and isinstance(value, bytes):
            status = status_pb2.Status()
            status.ParseFromString(value)
            return from_status(status)
    code = error.code()
    if code is grpc.StatusCode.CANCELLED:  # by the other side: who gives up here gets a CancelledError
        return Unavailable("STOPPED", "The service has stopped in the middle of the call; try again.")
    return _BY_CODE.get(code, Internal)(code.name, error.details() or code.name.replace("_", " ").lower())


def http_status(error: MeshError) -> int:
    """HTTP status of the error."""
    return error.http


def error_body(error: MeshError, trace_id: str) -> dict[str, str]:
    """The JSON body of an HTTP answer that tells of the error."""
    return {"detail": error.message, "code": error.code.name, "reason": error.reason, "trace_id": trace_id}
