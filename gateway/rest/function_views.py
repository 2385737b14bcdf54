"""Functions and their runs as the workspaces' clients read them."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from fastapi import Request

from fnmesh.invoke.v1 import invoke_pb2
from fnmesh.invoke.v1 import stats_service_pb2 as stats_pb
from fnmesh.registry.v1 import function_pb2
from gateway.rest import convert
from gateway.rest.function_models import Function, Run

RUNTIME_LABEL = "rest/runtime"
"""Keeps the runtime as it was written: python3.12."""

ENDPOINT_LABEL = "rest/endpoint"
"""Keeps the name that a client has for where the mesh itself runs the function; nothing is ever sent there."""

_MEBIBYTE = 1024 * 1024
_IN_CLUSTER = re.compile(r"https?://([a-z0-9-]{1,63})\.[a-z0-9-]{1,63}\.svc\.cluster\.local(?:/[!-~]{0,100})?")
_STATUS = {
    function_pb2.DEPLOYMENT_STATE_UNSPECIFIED: "created",
    function_pb2.DEPLOYMENT_STATE_PENDING: "deploying",
    function_pb2.DEPLOYMENT_STATE_STARTING: "deploying",
    function_pb2.DEPLOYMENT_STATE_READY: "deployed",
    function_pb2.DEPLOYMENT_STATE_DEGRADED: "degraded",
    function_pb2.DEPLOYMENT_STATE_FAILED: "failed",
    function_pb2.DEPLOYMENT_STATE_STOPPED: "stopped",
}


def url_of(function: function_pb2.Function, http: Request) -> str:
    """Where this mesh answers for a function."""
    return f"{http.url.scheme}://{http.headers.get('host', '')}/api/{function.path}"


def split_url(url: str, function: function_pb2.Function, http: Request) -> tuple[str, str]:
    """What an invocationUrl means: a name for the function's own endpoint in this mesh, or a place outside it (which
    the registry has to allow); the other one is empty.
    """
    url = url.rstrip("/")
    if url == url_of(function, http):
        return "", ""
    service = _IN_CLUSTER.fullmatch(url)
    if service and service[1] == function.display_name:
        return url, ""
    return "", url


def body_of(payload: bytes, content_type: str) -> tuple[Any, bool]:
    """The body of an answer as JSON has it, and whether it is base64."""
    if content_type.partition(";")[0].strip() == "application/json":
        try:
            return json.loads(payload), False
        except ValueError:
            pass
    try:
        return payload.decode(), False
    except UnicodeDecodeError:
        return base64.b64encode(payload).decode(), True


def function_of(function: function_pb2.Function, stats: stats_pb.FunctionStats | None, http: Request) -> Function:
    """A function, and how it ran."""
    return Function(
        id=function.uid,
        function_id=function.uid,
        workspaceId=function.name.split("/")[1],
        name=function.display_name,
        description=function.description,
        runtime=function.labels.get(RUNTIME_LABEL) or convert.type_of(function.runtime),
        status=_STATUS.get(function.deployment_state, "created"),
        path=function.path,
        httpMethods=list(function.methods),
        environmentVariables=dict(function.env),
        memory=function.limits.memory_bytes // _MEBIBYTE,
        timeout=function.limits.timeout.ToMilliseconds() / 1000,
        invocationUrl=_invocation_url(function, http),
        invocations24h=stats.invocations if stats else 0,
        errors24h=stats.failures if stats else 0,
        avgDuration=stats.average_duration.ToNanoseconds() / 1e6 if stats else 0.0,
        createdAt=convert.time_of(function.create_time),
        updatedAt=convert.time_of(function.update_time),
    )


def _invocation_url(function: function_pb2.Function, http: Request) -> str | None:
    said = function.labels.get(ENDPOINT_LABEL) or function.invocation_url
    return said or (url_of(function, http) if function.running else None)


def run_of(execution: invoke_pb2.Execution, printed: str) -> Run:
    """The record of a run, and what was printed meanwhile."""
    return Run(
        id=execution.uid,
        timestamp=convert.time_of(execution.start_time),
        status="error" if execution.failed else "success",
        duration=execution.duration.ToNanoseconds() / 1e6,
        statusCode=execution.status_code,
        requestBody=execution.request_body or None,
        responseBody=execution.response_body or None,
        logs=printed,
        level="ERROR" if execution.failed else "INFO",
        coldStart=execution.cold_start,
        traceId=execution.trace_id,
        error=execution.error or None,
    )
