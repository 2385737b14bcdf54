"""Builds and pushes as tasks: begun, looked at, and watched. Each is a build of a Spin function."""

from __future__ import annotations

import re
import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from fastapi.responses import Response

from fnmesh.build.v1 import build_pb2
from fnmesh.build.v1 import build_service_pb2 as build_pb
from fnmesh.registry.v1 import function_pb2
from fnmesh.registry.v1 import registry_service_pb2 as registry_pb
from gateway.rest import convert, task_forms
from gateway.rest.caller import Caller, Mesh
from gateway.rest.problems import answers
from gateway.rest.sse import EventStream
from gateway.rest.task_models import (
    WORKSPACE,
    BuildAndPushIn,
    BuildIn,
    PushIn,
    Task,
    TaskBegun,
    Tasks,
    form_body,
)
from gateway.rest.task_views import ENDED, EVENT, WORDS, Places, begun, events, task_of
from mesh.errors import AlreadyExists, NotFound

router = APIRouter(prefix="/api/v1", tags=["builds"])
_PATH = "tasks"

TaskId = Annotated[uuid.UUID, Path(description="Identifier of the task.")]
OfWorkspace = Annotated[
    str | None,
    Query(pattern=WORKSPACE, description="The task must be one of this workspace.", examples=["my-workspace"]),
]


def _places(request: Request) -> Places:
    found: Places = request.app.state.places
    return found


InStore = Annotated[Places, Depends(_places)]


@router.post(
    "/build",
    status_code=202,
    responses=answers(404, 409, 413, 415),
    openapi_extra=form_body(BuildIn),
    summary="Build a Spin component",
)
async def build(request: Request, mesh: Mesh, places: InStore) -> TaskBegun:
    given, digest = await task_forms.form(request, mesh, BuildIn)
    function = await _function(mesh, given.workspace_id, given.app_name)
    made = await _begin(mesh, function.name, digest, None)
    return begun(made, given.workspace_id, "Build task created", places)


@router.post(
    "/build-and-push",
    status_code=202,
    responses=answers(404, 409, 413, 415),
    openapi_extra=form_body(BuildAndPushIn),
    summary="Build a Spin component and push it to a registry",
)
async def build_and_push(request: Request, mesh: Mesh, places: InStore) -> TaskBegun:
    given, digest = await task_forms.form(request, mesh, BuildAndPushIn)
    function = await _function(mesh, given.workspace_id, given.app_name)
    made = await _begin(mesh, function.name, digest, _push(given))
    return begun(made, given.workspace_id, "Build and push task created", places)


@router.post(
    "/push",
    status_code=202,
    responses=answers(404, 409, 413, 415),
    summary="Push what a task built to a registry",
    description="A form (multipart/form-data) with the same fields is taken too.",
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": {"schema": PushIn.model_json_schema()}}}
    },
)
async def push(request: Request, mesh: Mesh, places: InStore) -> TaskBegun:
    given = task_forms.checked(PushIn, await task_forms.values_of(request))
    built = await _built(mesh, given)
    if given.workspace_id is not None:
        await _check_workspace(mesh, built, given.workspace_id)
    made = await _begin(mesh, built.function, built.source_digest, _push(given))
    return begun(made, given.workspace_id or built.function.split("/")[1], "Push task created", places)


@router.get("/tasks/{task_id}", responses=answers(404), summary="One task")
async def get_task(task_id: TaskId, mesh: Mesh, places: InStore, workspace_id: OfWorkspace = None) -> Task:
    return task_of(await _find(mesh, task_id, workspace_id), places)


@router.get(
    "/tasks/{task_id}/events",
    response_class=Response,
    responses={
        **answers(404),
        200: {"content": {"text/event-stream": {"schema": EVENT}}, "description": "Server-sent events."},
        204: {"description": "There is nothing after Last-Event-ID, and never will be."},
    },
    summary="What happens in a task, as it happens",
    description="Events `status` (the task), `progress` (stage, percent) and `log` (stage, line). The header"
    " `Last-Event-ID` resumes.",
)
async def watch_task(
    task_id: TaskId,
    mesh: Mesh,
    places: InStore,
    workspace_id: OfWorkspace = None,
    last_event_id: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    found = await _find(mesh, task_id, workspace_id)
    after = int(last_event_id) if last_event_id.isdecimal() and len(last_event_id) < 18 else 0
    if WORDS[found.state] in ENDED and after >= found.last_sequence:
        return Response(status_code=204)
    return EventStream(events(mesh, found, after, places))


@router.get("/workspaces/{workspace_id}/tasks", responses=answers(), summary="Tasks of a workspace, newest first")
async def list_tasks(
    workspace_id: Annotated[str, Path(pattern=WORKSPACE, examples=["my-workspace"])],
    mesh: Mesh,
    places: InStore,
    page_size: Annotated[int, Query(ge=1, le=1000)] = 100,
    page_token: Annotated[str, Query(max_length=1000, description="`next_page_token` of the page before.")] = "",
) -> Tasks:
    parent = f"workspaces/{workspace_id}/functions/-"
    request = build_pb.ListBuildsRequest(parent=parent, page_size=page_size, page_token=page_token)
    try:
        answer = await mesh.build.ListBuilds(request)
    except NotFound:  # a workspace that no task has brought into being yet
        return Tasks(tasks=[], count=0, next_page_token="")
    found = [task_of(one, places) for one in answer.builds]
    return Tasks(tasks=found, count=len(found), next_page_token=answer.next_page_token)


async def _function(mesh: Caller, workspace: str, app: str | None) -> function_pb2.Function:
    """The function that builds of an app are of, made on first use. It is no deployment: its path is out of the way."""
    name = app or "app"
    function = function_pb2.Function(
        display_name=name,
        path=f"{_PATH}/{workspace}/{name}",
        runtime=function_pb2.RUNTIME_SPIN,
        target=function_pb2.TARGET_SPIN,
    )
    parent = f"workspaces/{workspace}"
    try:
        made: function_pb2.Function = await mesh.registry.CreateFunction(
            registry_pb.CreateFunctionRequest(parent=parent, function=function)
        )
        return made
    except AlreadyExists as error:
        if error.reason != "NAME_TAKEN":
            raise
    found: function_pb2.Function = await mesh.registry.GetFunction(
        registry_pb.GetFunctionRequest(name=f"{parent}/functions/{name}")
    )
    if found.runtime != function_pb2.RUNTIME_SPIN:
        kind = convert.type_of(found.runtime)
        raise AlreadyExists("NAME_TAKEN", f"'{name}' is a {kind} function of this workspace; choose another app_name.")
    return found


def _push(given: BuildAndPushIn | PushIn) -> build_pb2.Push:
    return build_pb2.Push(repository=given.registry_url, username=given.username or "", password=given.password or "")


async def _begin(mesh: Caller, function: str, digest: str, push: build_pb2.Push | None) -> build_pb2.Build:
    wanted = build_pb2.Build(source_digest=digest, push=push)
    made: build_pb2.Build = await mesh.build.CreateBuild(build_pb.CreateBuildRequest(parent=function, build=wanted))
    return made


async def _built(mesh: Caller, given: PushIn) -> build_pb2.Build:
    """The build that a push names."""
    if given.image is not None and given.task_id is None:
        request = build_pb.ListBuildsRequest(parent="workspaces/-/functions/-", page_size=1, pushed_as=given.image)
        for one in (await mesh.build.ListBuilds(request)).builds:
            found: build_pb2.Build = one
            return found
        raise NotFound("IMAGE_NOT_FOUND", f"No task of this mesh has pushed '{given.image}'.")
    task_id = given.task_id
    if task_id is None and given.wasm_path is not None:
        named = re.search(r"build-artifacts/([^/]+)/app\.wasm$", given.wasm_path)
        try:
            task_id = uuid.UUID(named[1]) if named else None
        except ValueError:
            task_id = None
    if task_id is None:
        raise task_forms.invalid("task_id", "Name what to push: task_id, wasm_path or image.")
    return await _find(mesh, task_id, None)


async def _find(mesh: Caller, task_id: uuid.UUID, workspace: str | None) -> build_pb2.Build:
    missing = NotFound("TASK_NOT_FOUND", f"There is no task '{task_id}'.")
    try:
        found: build_pb2.Build = await mesh.build.GetBuild(build_pb.GetBuildRequest(name=f"builds/{task_id}"))
    except NotFound:
        raise missing from None
    if workspace is not None:
        await _check_workspace(mesh, found, workspace)
    return found


async def _check_workspace(mesh: Caller, found: build_pb2.Build, workspace: str) -> None:
    """Raises NotFound where the task is of another workspace."""
    uid = found.function.split("/")[1]
    if workspace == uid:
        return
    missing = NotFound("TASK_NOT_FOUND", f"There is no task '{found.uid}' in the workspace '{workspace}'.")
    try:
        named = await mesh.registry.GetWorkspace(registry_pb.GetWorkspaceRequest(name=f"workspaces/{workspace}"))
    except NotFound:
        raise missing from None
    if named.uid != uid:
        raise missing
