"""What invoke_svc thinks in: routes, instances, runs, and the decisions that need nothing but them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mesh.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    MeshError,
    NotFound,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
)

CLIENT_GONE = 499
"""Status of the record of a run whose caller went away."""


class Trigger(Enum):
    """How a run came in; the values are those of the API."""

    HTTP = 1
    DIRECT = 2
    JOB = 3


@dataclass(frozen=True, slots=True)
class Route:
    """A function as a request sees it.

    `path` has no leading slash. `methods` empty means all. `revision` is the one that should serve, 0 where none
    should. `failure` says why nothing can be started, empty while something may. `foreign` means that the
    workload is not one of our runtimes: it has no direct-invoke path and knows nothing of time limits; `component`
    that it is a host of Spin components, whose failures look alike. `body_event` means that its handler gets the body
    of a request as its event. `invocation_url` is where direct invokes go while nothing is deployed.
    """

    uid: str
    name: str
    workspace: str
    display_name: str
    workspace_display_name: str
    path: str
    methods: frozenset[str]
    revision: int
    timeout_s: float
    needs_key: bool = False
    failure: str = ""
    foreign: bool = False
    component: bool = False
    body_event: bool = False
    invocation_url: str = ""
    version: int = 0

    def answers(self, method: str) -> bool:
        """Whether a request with the method is for this function: HEAD wherever GET is."""
        methods = self.methods
        return not methods or method in methods or (method == "HEAD" and "GET" in methods)


@dataclass(frozen=True, slots=True)
class InstanceState:
    """What deploy_svc says of an instance. `address` is `unix:/path` or `host:port`."""

    uid: str
    function_uid: str
    revision: int
    address: str
    concurrency: int
    accepting: bool
    version: int


@dataclass(slots=True)
class Run:
    """One run, from its arrival on; becomes an execution record at its end. Times are seconds."""

    uid: str
    trigger: Trigger
    started: float
    """Seconds since the epoch."""
    trace_id: str
    request_line: str = ""
    function_uid: str = ""
    function_name: str = ""
    revision: int = 0
    instance: str = ""
    queued_s: float = 0.0
    duration_s: float = 0.0
    cold_start: bool = False
    status: int = 0
    failed: bool = False
    error: str = ""
    request_bytes: int = 0
    response_bytes: int = 0
    request_body: str = ""
    """Beginning of a direct invoke's payload, as it may be kept (bodies.py)."""
    response_body: str = ""


class MethodNotAllowed(Unimplemented):
    """There is a function at the path, but none for the method; `allow` is the value of the Allow header."""

    http = 405

    def __init__(self, method: str, allow: str) -> None:
        super().__init__(
            "METHOD_NOT_ALLOWED", f"The function at this path does not answer {method}; it answers {allow}."
        )
        self.allow = allow


class NotDeployed(FailedPrecondition):
    """The function is there, and nothing of it should run."""

    http = 400

    def __init__(self) -> None:
        super().__init__("NOT_DEPLOYED", "Function is not deployed")


class PayloadTooLarge(ResourceExhausted):
    """The request's body is over the limit."""

    http = 413

    def __init__(self, limit_bytes: int) -> None:
        super().__init__("BODY_TOO_LARGE", f"The request's body is larger than {limit_bytes} bytes.")


class RequestTooSlow(DeadlineExceeded):
    """The caller took longer to send the request's body than the function may take for all of it."""

    http = 408

    def __init__(self, limit_s: float) -> None:
        super().__init__("REQUEST_TIMEOUT", f"The request's body did not arrive within {limit_s:g} s.")


class NoRoom(DeadlineExceeded):
    """No instance took the request within its time; nothing has run."""


class WorkloadFailed(Internal):
    """The workload ended the connection, or did not speak HTTP; it may have seen the request."""

    http = 502


def path_malformed() -> InvalidArgument:
    return InvalidArgument("PATH_MALFORMED", "The path is not a well-formed, percent-encoded UTF-8 path.")


def function_unknown(what: str) -> NotFound:
    return NotFound("FUNCTION_NOT_FOUND", f"There is no function {what}.")


def routes_unknown() -> Unavailable:
    return Unavailable(
        "ROUTES_NOT_LOADED", "The mesh is starting and does not know its functions yet.", retry_after_s=1
    )


def timed_out(limit_s: float) -> DeadlineExceeded:
    return DeadlineExceeded("TIMEOUT", f"The function did not answer within its time limit of {limit_s:g} s.")


def deployment_failed(why: str) -> Unavailable:
    return Unavailable("DEPLOYMENT_FAILED", why, retry_after_s=5)


def nothing_ready() -> Unavailable:
    return Unavailable("NO_INSTANCE", "No instance of the function became ready in time.", retry_after_s=1)


def no_room(waited_s: float) -> NoRoom:
    return NoRoom("TIMEOUT", f"No instance of the function had room for the request within {waited_s:g} s.")


def queue_full() -> ResourceExhausted:
    return ResourceExhausted("QUEUE_FULL", "Too many requests are waiting for this function already.", retry_after_s=1)


def unavailable_reason(route: Route | None) -> MeshError | None:
    """Why no request may wait for the function; None where waiting makes sense."""
    if route is None:
        return function_unknown("of that name any more")
    if not route.revision:
        return NotDeployed()
    return deployment_failed(route.failure) if route.failure else None


def allow_header(methods: set[str]) -> str:
    """The value of Allow for functions that answer `methods` between them."""
    return ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods))
