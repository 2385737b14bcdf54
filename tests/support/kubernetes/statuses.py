"""What the server refuses with: an HTTP status and a `Status` object, worded as the real one words it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.kubernetes.resources import Resource

Json = dict[str, Any]


class ApiError(Exception):
    """Ends a request with `status` (a Status object) and its code."""

    def __init__(
        self, code: int, reason: str, message: str, *, details: Json | None = None, headers: Json | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.headers: Json = headers or {}
        self.status: Json = {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
            **({"reason": reason} if reason else {}),
            **({"details": details} if details is not None else {}),
            "code": code,
        }  # fmt: skip


class PageNotFound(Exception):
    """A path nobody serves, such as that of a CRD that is not installed: not even a Status, but a line of text."""


@dataclass(frozen=True)
class Cause:
    """One field that is wrong. `reason`: FieldValueInvalid, FieldValueRequired, FieldValueDuplicate, ..."""

    field: str
    message: str
    reason: str = "FieldValueInvalid"

    def json(self) -> Json:
        return {"reason": self.reason, "message": self.message, "field": self.field}


def _named(resource: Resource, name: str, **more: Any) -> Json:
    return {
        "name": name, **({"group": resource.group} if resource.group else {}), "kind": resource.plural, **more
    }  # fmt: skip


def not_found(resource: Resource, name: str) -> ApiError:
    return ApiError(404, "NotFound", f'{resource.qualified} "{name}" not found', details=_named(resource, name))


def already_exists(resource: Resource, name: str) -> ApiError:
    message = f'{resource.qualified} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, details=_named(resource, name))


def conflict(resource: Resource, name: str, why: str = "") -> ApiError:
    """An update from an old resourceVersion, or what `why` says."""
    why = why or (
        "the object has been modified; please apply your changes to the latest version and try again"
    )  # fmt: skip
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return ApiError(409, "Conflict", message, details=_named(resource, name))


def apply_conflict(message: str, causes: Sequence[Cause]) -> ApiError:
    """A server-side apply that wants fields of another manager."""
    return ApiError(409, "Conflict", message, details={"causes": [cause.json() for cause in causes]})


def invalid(resource: Resource, name: str, causes: Sequence[Cause]) -> ApiError:
    said = [f"{cause.field}: {cause.message}" for cause in causes]
    together = said[0] if len(said) == 1 else f"[{', '.join(said)}]"
    qualified_kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    details = {
        "name": name, **({"group": resource.group} if resource.group else {}), "kind": resource.kind,
        "causes": [cause.json() for cause in causes],
    }  # fmt: skip
    return ApiError(422, "Invalid", f'{qualified_kind} "{name}" is invalid: {together}', details=details)


def forbidden(resource: Resource, name: str, why: str, causes: Sequence[Cause] = ()) -> ApiError:
    """`why` follows "is forbidden: "."""
    named = f'{resource.qualified} "{name}"' if name else resource.qualified
    details = _named(resource, name) if name else {k: v for k, v in _named(resource, "").items() if k != "name"}
    if causes:
        details["causes"] = [cause.json() for cause in causes]
    return ApiError(403, "Forbidden", f"{named} is forbidden: {why}", details=details)


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def expired(message: str) -> ApiError:
    """410: the history that was asked for is forgotten."""
    return ApiError(410, "Expired", message)


def too_many_requests(retry_after_s: int) -> ApiError:
    message = "the server has received too many requests and has asked us to try again later"
    return ApiError(
        429, "TooManyRequests", message, details={"retryAfterSeconds": retry_after_s},
        headers={"retry-after": str(retry_after_s)},
    )  # fmt: skip


def internal_error(message: str) -> ApiError:
    causes = {"causes": [{"message": message}]}
    return ApiError(500, "InternalError", f"Internal error occurred: {message}", details=causes)


def unavailable(message: str = "the server is currently unable to handle the request") -> ApiError:
    return ApiError(503, "ServiceUnavailable", message)


def unsupported_media_type(got: str) -> ApiError:
    message = f"the body of the request was in an unknown format - accepted media types do not include {got}"
    return ApiError(415, "UnsupportedMediaType", message)


def method_not_allowed() -> ApiError:
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
