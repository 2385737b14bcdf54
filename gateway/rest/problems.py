"""Errors of every kind as the one body that callers of the REST facade know."""

from __future__ import annotations

import http
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from mesh import telemetry
from mesh.errors import FailedPrecondition, Internal, InvalidArgument, MeshError, Unavailable
from mesh.logs import get_logger

log = get_logger(__name__)
_CODES = {
    400: ("INVALID_ARGUMENT", "BAD_REQUEST"),
    404: ("NOT_FOUND", "PATH_UNKNOWN"),
    405: ("UNIMPLEMENTED", "METHOD_NOT_ALLOWED"),
    413: ("RESOURCE_EXHAUSTED", "BODY_TOO_LARGE"),
    415: ("INVALID_ARGUMENT", "MEDIA_TYPE_UNKNOWN"),
}

_COMPLAINTS = 100
_TOO_LARGE = ("BODY_TOO_LARGE", "SOURCE_TOO_LARGE")
_SPINKUBE = "SPINKUBE_NOT_INSTALLED"


class Problem(BaseModel):
    """What went wrong."""

    detail: str = Field(description="One clear sentence.", examples=["There is no callback 7."])
    code: str = Field(description="Name of the gRPC status.", examples=["NOT_FOUND"])
    reason: str = Field(description="Stable reason, for programs.", examples=["CALLBACK_NOT_FOUND"])
    trace_id: str = Field(description="Trace of the request.", examples=["0af7651916cd43dd8448eb211c80319c"])


class Complaint(BaseModel):
    """One thing that is wrong with a request."""

    loc: list[str | int] = Field(description="Where it is.", examples=[["body", "path"]])
    msg: str = Field(description="What is wrong.")
    type: str = Field(description="Which kind of wrong.", examples=["PATH_RESERVED"])


class Invalid(BaseModel):
    """The request does not validate."""

    detail: list[Complaint]
    code: str = Field(examples=["INVALID_ARGUMENT"])
    reason: str = Field(examples=["PATH_RESERVED"])
    trace_id: str


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route may answer besides its own: those every route may, and these."""
    every = {400, 401, 403, 429, 500, 503, 504, *statuses}
    described: dict[int | str, dict[str, Any]] = {
        status: {"model": Problem, "description": http.HTTPStatus(status).phrase} for status in sorted(every)
    }
    return described | {422: {"model": Invalid, "description": "The request does not validate."}}


def install(app: FastAPI) -> None:
    """Has the application answer with problems."""
    app.add_exception_handler(MeshError, _mesh_error)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _unexpected)


async def _mesh_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, MeshError)
    return rendered(error)


def rendered(error: MeshError) -> JSONResponse:
    """The answer that tells of an error."""
    if isinstance(error, InvalidArgument):
        complaints = [
            {"loc": ["body", *name.split(".")], "msg": text, "type": error.reason}
            for name, text in error.fields.items()
        ]
        return _invalid(complaints or [{"loc": ["body"], "msg": error.message, "type": error.reason}], error.reason)
    if error.reason == _SPINKUBE:
        return _problem(412, error.message, error.code.name, error.reason, {})
    if isinstance(error, FailedPrecondition) and error.reason != "NOT_DEPLOYED":
        return _problem(409, error.message, error.code.name, error.reason, {})
    if error.reason in _TOO_LARGE:
        return _problem(413, error.message, error.code.name, error.reason, {})
    headers = {}
    if isinstance(error, Unavailable) and error.reason == error.code.name:  # gRPC's own words name sockets
        error = Unavailable(error.reason, "A service of the mesh does not answer; try again in a moment.")
    if isinstance(error, Unavailable):
        headers["retry-after"] = str(max(1, round(error.retry_after_s or 1)))
    return _problem(error.http, error.message, error.code.name, error.reason, headers)


async def _not_valid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    complaints = [
        {"loc": list(one["loc"]), "msg": one["msg"], "type": one["type"]} for one in error.errors()[:_COMPLAINTS]
    ]
    return _invalid(complaints, "REQUEST_INVALID")


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code, reason = _CODES.get(error.status_code, ("UNKNOWN", http.HTTPStatus(error.status_code).name))
    detail = {
        404: "There is nothing at this path.",
        405: f"{request.method} is not answered at this path.",
    }.get(error.status_code, str(error.detail))
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if error.status_code == 405:  # the framework names the methods of one route only
        headers["allow"] = ", ".join(_methods_at(request))
    return _problem(error.status_code, detail, code, reason, headers)


def _methods_at(request: Request) -> list[str]:
    """The methods that are answered at the path of a request."""
    return sorted(
        method.upper()
        for path, operations in request.app.openapi()["paths"].items()
        if compile_path(path)[0].match(request.url.path)
        for method in operations
    )


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.exception("rest_call_failed", error, path=request.url.path)
    ours = Internal("INTERNAL", "Something went wrong inside the mesh; its log has the rest.")
    # The server ends the connection after such an answer; Envoy must not send another caller's request on it.
    return _problem(500, ours.message, ours.code.name, ours.reason, {"connection": "close"})


def _problem(status: int, detail: str, code: str, reason: str, headers: Mapping[str, str]) -> JSONResponse:
    body = {"detail": detail, "code": code, "reason": reason, "trace_id": telemetry.current_trace_id()}
    return JSONResponse(body, status_code=status, headers=dict(headers))


def _invalid(complaints: list[dict[str, Any]], reason: str) -> JSONResponse:
    body = {
        "detail": complaints,
        "code": "INVALID_ARGUMENT",
        "reason": reason,
        "trace_id": telemetry.current_trace_id(),
    }
    return JSONResponse(body, status_code=422)
