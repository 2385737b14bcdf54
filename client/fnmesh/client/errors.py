"""What the client raises.

FnmeshError
├── SourceError           the source or a setting is wrong; nothing was sent
├── BuildFailed           the build ended without an artifact
├── DeployFailed          the new revision did not come up
├── JobFailed             the job ended, and not with success (only from `jobs.result`)
├── HandlerFailed         the function answered with an error (only from `Answer.raise_for_status`)
└── RpcFailed             the mesh answered with an error
    ├── InvalidArgument, NotFound, AlreadyExists, FailedPrecondition, Aborted
    ├── Unauthenticated, PermissionDenied, ResourceExhausted, DeadlineExceeded
    └── Unavailable
        └── Unreachable   nothing listens there, or it is no mesh
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import grpc
from google.rpc import error_details_pb2, status_pb2

from fnmesh.invoke.v1.job_pb2 import JobState

if TYPE_CHECKING:
    from fnmesh.build.v1 import build_pb2
    from fnmesh.client.answer import Answer
    from fnmesh.deploy.v1 import deployment_pb2
    from fnmesh.invoke.v1 import job_pb2

_STATUS_KEY = "grpc-status-details-bin"


class FnmeshError(Exception):
    """Base of everything the client raises; its text is one sentence for a person."""


class SourceError(FnmeshError):
    """The source or a setting is wrong; nothing was sent."""


class BuildFailed(FnmeshError):
    """The build ended FAILED or CANCELLED. `build` is as it ended."""

    def __init__(self, build: build_pb2.Build) -> None:
        super().__init__(build.error or "The build was cancelled.")
        self.build = build


class DeployFailed(FnmeshError):
    """The new revision was built but did not come up; an older one may be serving still."""

    def __init__(self, message: str, deployment: deployment_pb2.Deployment | None = None) -> None:
        super().__init__(message)
        self.deployment = deployment


class JobFailed(FnmeshError):
    """The job ended FAILED, TIMEOUT, CANCELLED or DEAD. `job` is as it ended."""

    def __init__(self, job: job_pb2.Job) -> None:
        state = JobState.Name(job.state).removeprefix("JOB_STATE_")
        super().__init__(f"The job ended {state}: {job.error}" if job.error else f"The job ended {state}.")
        self.job = job


class HandlerFailed(FnmeshError):
    """The function answered with a status of 400 or more."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"The function answered {answer.status}: {answer.text[:300]}")
        self.answer = answer


class RpcFailed(FnmeshError):
    """The mesh answered with an error.

    `code` is the gRPC status code, `reason` the stable word of it (such as FUNCTION_NOT_FOUND), `metadata`
    its details, `fields` the request's fields that were wrong with the sentence on each, `retry_after_s`
    how long to wait where the mesh said so, `trace_id` the trace of the call where it is known.
    """

    grpc_code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode | None = None,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        fields: Sequence[tuple[str, str]] = (),
        retry_after_s: float | None = None,
        trace_id: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code or self.grpc_code
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.fields = tuple(fields)
        self.retry_after_s = retry_after_s
        self.trace_id = trace_id


class InvalidArgument(RpcFailed):
    """The request itself is wrong."""

    grpc_code = grpc.StatusCode.INVALID_ARGUMENT


class NotFound(RpcFailed):
    """What was named is not there."""

    grpc_code = grpc.StatusCode.NOT_FOUND


class AlreadyExists(RpcFailed):
    """A name or a path is taken."""

    grpc_code = grpc.StatusCode.ALREADY_EXISTS


class FailedPrecondition(RpcFailed):
    """It cannot be done as things are now."""

    grpc_code = grpc.StatusCode.FAILED_PRECONDITION


class Aborted(RpcFailed):
    """Somebody else changed it meanwhile: read it again."""

    grpc_code = grpc.StatusCode.ABORTED


class ResourceExhausted(RpcFailed):
    """A limit is reached."""

    grpc_code = grpc.StatusCode.RESOURCE_EXHAUSTED


class Unauthenticated(RpcFailed):
    """An API key is missing, unknown or revoked."""

    grpc_code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDenied(RpcFailed):
    """The API key is good, but not for this."""

    grpc_code = grpc.StatusCode.PERMISSION_DENIED


class DeadlineExceeded(RpcFailed):
    """It took longer than the caller or the function allows."""

    grpc_code = grpc.StatusCode.DEADLINE_EXCEEDED


class Unavailable(RpcFailed):
    """The mesh, or a part of it, cannot answer now."""

    grpc_code = grpc.StatusCode.UNAVAILABLE


class Unreachable(Unavailable):
    """Nothing listens at the address, or what does is no mesh."""


_BY_CODE: dict[grpc.StatusCode, type[RpcFailed]] = {
    kind.grpc_code: kind
    for kind in (
        InvalidArgument, NotFound, AlreadyExists, FailedPrecondition, Aborted, ResourceExhausted,
        Unauthenticated, PermissionDenied, DeadlineExceeded, Unavailable,
    )
}  # fmt: skip

# What grpc itself says when there was no answer at all, as against an answer of UNAVAILABLE.
_NO_CONNECTION = ("failed to connect", "connection refused", "no such file", "name resolution", "dns",
                  "trying to connect an http1.x server", "ssl_", "handshake", "socket closed")  # fmt: skip
# What it says where something answers that speaks no gRPC.
_NO_GRPC = "received http2 header with status"
# What becomes of a stream whose service ended in its middle: Envoy resets it, and grpc calls that INTERNAL.
_RESET = "rst_stream"


def from_rpc_error(error: grpc.aio.AioRpcError, address: str) -> RpcFailed:
    """The error that an RPC's failure means, with the details of its google.rpc.Status where it has one."""
    trailing = list(error.trailing_metadata() or ())
    initial = list(error.initial_metadata() or ())
    trace_id = next((str(value) for key, value in [*trailing, *initial] if key == "x-trace-id"), "")
    message = error.details() or error.code().name
    raw = next((value for key, value in trailing if key == _STATUS_KEY), None)
    if raw is None:
        if error.code() is grpc.StatusCode.UNAVAILABLE and any(w in message.lower() for w in _NO_CONNECTION):
            return Unreachable(f"No mesh answers at {address}.", trace_id=trace_id)
        if _NO_GRPC in message.lower():
            return Unreachable(f"What answers at {address} is no mesh.", trace_id=trace_id)
        if error.code() is grpc.StatusCode.INTERNAL and _RESET in message.lower():
            return Unavailable("The connection broke in the middle of the answer.", trace_id=trace_id)
        if error.code() is grpc.StatusCode.CANCELLED:  # by the other side: who gives up here gets a CancelledError
            return Unavailable("The service has stopped in the middle of the call.", trace_id=trace_id)
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            message = f"The mesh at {address} did not answer in time."
        return _BY_CODE.get(error.code(), RpcFailed)(message, code=error.code(), trace_id=trace_id)
    status = status_pb2.Status.FromString(raw if isinstance(raw, bytes) else raw.encode())
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), None
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            detail.Unpack(bad)
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            found = error_details_pb2.RetryInfo()
            detail.Unpack(found)
            retry = found.retry_delay.ToTimedelta().total_seconds()
    return _BY_CODE.get(error.code(), RpcFailed)(
        status.message or message,
        code=error.code(),
        reason=info.reason,
        metadata=info.metadata,
        fields=[(violation.field, violation.description) for violation in bad.field_violations],
        retry_after_s=retry,
        trace_id=trace_id or info.metadata.get("trace_id", ""),
    )
