"""Functions of workspaces: making, changing, deploying and invoking them."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Body, HTTPException, Path, Query, Request

from fnmesh.build.v1 import build_service_pb2 as build_pb
from fnmesh.deploy.v1 import deploy_service_pb2 as deploy_pb
from fnmesh.invoke.v1 import invoke_service_pb2 as invoke_service_pb
from fnmesh.invoke.v1 import stats_service_pb2 as stats_pb
from fnmesh.registry.v1 import function_pb2
from fnmesh.registry.v1 import registry_service_pb2 as registry_pb
from gateway.rest import convert, function_views, listings, sources
from gateway.rest.caller import Caller, Mesh
from gateway.rest.function_models import Begun, Function, FunctionChange, FunctionIn, Invoked, LimitsIn, Runs
from gateway.rest.problems import answers
from gateway.rest.workspaces import WorkspaceId
from mesh.errors import InvalidArgument, NotFound

router = APIRouter(prefix="/api/workspaces/{workspace_id}/functions", tags=["functions"])

_MEBIBYTE = 1024 * 1024
_LOG_LINES = 2000

FunctionId = Annotated[
    str,
    Path(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", description="Identifier or name of the function.", examples=["hello"]),
]


@router.post("", status_code=201, responses=answers(404, 409), summary="Make a function")
async def create_function(workspace_id: WorkspaceId, given: FunctionIn, mesh: Mesh, http: Request) -> Function:
    parent = f"workspaces/{workspace_id}"
    await mesh.registry.GetWorkspace(registry_pb.GetWorkspaceRequest(name=parent))  # or the registry would make it
    runtime = convert.runtime_of(given.runtime)
    function = function_pb2.Function(
        display_name=given.name,
        description=given.description,
        path=given.path or "",
        methods=given.httpMethods,
        runtime=runtime,
        env=given.environmentVariables,
        labels={function_views.RUNTIME_LABEL: given.runtime},
        source_digest=await sources.upload_code(mesh, convert.type_of(runtime), _decoded(given.code), given.library),
    )
    _set_limits(function, given)
    made = await mesh.registry.CreateFunction(registry_pb.CreateFunctionRequest(parent=parent, function=function))
    return function_views.function_of(made, None, http)


@router.get("", responses=answers(404), summary="The functions of a workspace")
async def list_functions(workspace_id: WorkspaceId, mesh: Mesh, http: Request) -> list[Function]:
    parent = f"workspaces/{workspace_id}"
    found = [one async for one in listings.functions(mesh, parent)]
    stats = await _stats(mesh, f"{parent}/functions/-")
    return [function_views.function_of(one, stats.get(one.name), http) for one in found]


@router.get("/{function_id}", responses=answers(404), summary="One function")
async def get_function(workspace_id: WorkspaceId, function_id: FunctionId, mesh: Mesh, http: Request) -> Function:
    name = f"workspaces/{workspace_id}/functions/{function_id}"
    asked = registry_pb.GetFunctionRequest(name=name)
    function, stats = await asyncio.gather(mesh.registry.GetFunction(asked), _stats(mesh, name))
    return function_views.function_of(function, stats.get(function.name), http)


@router.patch("/{function_id}", responses=answers(404, 409), summary="Change a function")
async def update_function(
    workspace_id: WorkspaceId, function_id: FunctionId, given: FunctionChange, mesh: Mesh, http: Request
) -> Function:
    name = f"workspaces/{workspace_id}/functions/{function_id}"
    function = await mesh.registry.GetFunction(registry_pb.GetFunctionRequest(name=name))
    request = registry_pb.UpdateFunctionRequest(function=function_pb2.Function(name=function.name))
    change, paths = request.function, request.update_mask.paths
    if given.name is not None:
        change.display_name = given.name
        paths.append("display_name")
    if given.description is not None:
        change.description = given.description
        paths.append("description")
    if given.path is not None:
        change.path = given.path
        paths.append("path")
    if given.httpMethods is not None:
        change.methods.extend(given.httpMethods)
        paths.append("methods")
    if given.environmentVariables is not None:
        change.env.update(given.environmentVariables)
        paths.append("env")
    if given.runtime is not None:
        change.runtime = convert.runtime_of(given.runtime)
        change.labels.update({**function.labels, function_views.RUNTIME_LABEL: given.runtime})
        paths.extend(["runtime", "labels"])
    paths.extend(_set_limits(change, given))
    if given.code is not None or given.library is not None:
        kind = convert.type_of(change.runtime or function.runtime)
        decoded = None if given.code is None else _decoded(given.code)
        code, library = await sources.changed(mesh, function, decoded, given.library)
        change.source_digest = await sources.upload_code(mesh, kind, code, library)
        paths.append("source_digest")
    if given.invocationUrl is not None:
        endpoint, change.invocation_url = function_views.split_url(given.invocationUrl, function, http)
        paths.append("invocation_url")
        if endpoint != function.labels.get(function_views.ENDPOINT_LABEL, ""):
            change.labels.update({**function.labels, **change.labels, function_views.ENDPOINT_LABEL: endpoint})
            paths.append("labels")
    if paths:
        function = await mesh.registry.UpdateFunction(request)
    return await _whole(mesh, function, http)


@router.delete("/{function_id}", status_code=204, responses=answers(404), summary="Delete a function and all of it")
async def delete_function(workspace_id: WorkspaceId, function_id: FunctionId, mesh: Mesh) -> None:
    name = f"workspaces/{workspace_id}/functions/{function_id}"
    await mesh.registry.DeleteFunction(registry_pb.DeleteFunctionRequest(name=name))


@router.post("/{function_id}/deploy", status_code=202, responses=answers(404), summary="Build and deploy a function")
async def deploy_function(workspace_id: WorkspaceId, function_id: FunctionId, mesh: Mesh) -> Begun:
    name = f"workspaces/{workspace_id}/functions/{function_id}"
    request = build_pb.CreateBuildRequest(parent=name)
    request.build.deploy = True
    build = await mesh.build.CreateBuild(request)
    return Begun(function_id=build.function.rpartition("/")[2], status="deploying", task_id=build.uid)


@router.post("/{function_id}/undeploy", status_code=202, responses=answers(404), summary="Stop a function")
async def undeploy_function(workspace_id: WorkspaceId, function_id: FunctionId, mesh: Mesh) -> Begun:
    name = f"workspaces/{workspace_id}/functions/{function_id}"
    function = await mesh.registry.StopFunction(registry_pb.StopFunctionRequest(name=name))
    return Begun(function_id=function.uid, status="undeploying", task_id=str(uuid.uuid4()))


@router.post("/{function_id}/invoke", responses=answers(404, 413, 504), summary="Run a function with a JSON event")
async def invoke_function(
    workspace_id: WorkspaceId,
    function_id: FunctionId,
    mesh: Mesh,
    event: Annotated[Any, Body(description="Any JSON; {} where absent.", examples=[{"message": "hello"}])] = None,
) -> Invoked:
    name = f"workspaces/{workspace_id}/functions/{function_id}"
    if isinstance(event, bytes):  # what FastAPI makes of a body that is not said to be JSON
        raise HTTPException(415, "The event must be JSON: send content-type: application/json.")
    payload = json.dumps({} if event is None else event).encode()
    answer = await mesh.invoke.Invoke(invoke_service_pb.InvokeRequest(name=name, payload=payload), timeout=960)
    headers = {header.name: header.value for header in answer.headers}
    body, encoded = function_views.body_of(answer.payload, headers.get("content-type", ""))
    return Invoked(
        statusCode=answer.status_code,
        body=body,
        isBase64Encoded=encoded,
        headers=headers,
        duration=answer.duration.ToNanoseconds() / 1e6,
        logId=answer.execution.rpartition("/")[2],
        traceId=answer.trace_id,
    )


@router.get("/{function_id}/logs", responses=answers(404), summary="Stored runs of a function, newest first")
async def list_runs(
    workspace_id: WorkspaceId,
    function_id: FunctionId,
    mesh: Mesh,
    page_size: Annotated[int, Query(ge=1, le=1000)] = 50,
    page_token: Annotated[str, Query(max_length=1000)] = "",
) -> Runs:
    name = f"workspaces/{workspace_id}/functions/{function_id}"
    request = invoke_service_pb.ListExecutionsRequest(
        parent=name, page_size=page_size, page_token=page_token, with_bodies=True
    )
    answer = await mesh.invoke.ListExecutions(request)
    printed: dict[str, list[str]] = {}
    if answer.executions:
        async for line in mesh.deploy.ReadLogs(deploy_pb.ReadLogsRequest(parent=name, tail=_LOG_LINES)):
            if line.trace_id:
                printed.setdefault(line.trace_id, []).append(line.text)
    runs = [function_views.run_of(one, "\n".join(printed.get(one.trace_id, ()))) for one in answer.executions]
    return Runs(logs=runs, next_page_token=answer.next_page_token)


async def _whole(mesh: Caller, function: function_pb2.Function, http: Request) -> Function:
    return function_views.function_of(function, (await _stats(mesh, function.name)).get(function.name), http)


async def _stats(mesh: Caller, parent: str) -> dict[str, stats_pb.FunctionStats]:
    """How functions ran, by name; nothing of one that was made just now."""
    try:
        answer = await mesh.stats.ListFunctionStats(stats_pb.ListFunctionStatsRequest(parent=parent))
    except NotFound:
        return {}
    return {one.function: one for one in answer.stats}


def _decoded(code: str) -> bytes:
    try:
        return base64.b64decode(code, validate=True)
    except ValueError:
        message = "code must be base64."
        raise InvalidArgument("CODE_INVALID", message, fields={"code": message}) from None


def _set_limits(function: function_pb2.Function, given: FunctionIn | FunctionChange) -> list[str]:
    """Sets the limits that are given; the paths of those."""
    limits = given.limits or LimitsIn()
    memory = limits.memory if given.memory is None else given.memory
    timeout = limits.timeout if given.timeout is None else given.timeout
    paths = []
    if memory is not None:
        function.limits.memory_bytes = memory * _MEBIBYTE
        paths.append("limits.memory_bytes")
    if timeout is not None:
        function.limits.timeout.FromMilliseconds(round(timeout * 1000))
        paths.append("limits.timeout")
    if limits.cpu is not None:
        function.limits.cpu_millis = round(limits.cpu * 1000)
        paths.append("limits.cpu_millis")
    if limits.concurrency is not None:
        function.limits.concurrency = limits.concurrency
        paths.append("limits.concurrency")
    return paths
