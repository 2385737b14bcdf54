"""Builds and pushes as tasks: begun, looked at, and watched. Each is a build of a Spin function."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Header, HTTPException, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, ValidationError

from fnmesh.build.v1 import build_pb2
from fnmesh.build.v1 import build_service_pb2 as build_pb
from fnmesh.registry.v1 import function_pb2, revision_pb2
from fnmesh.registry.v1 import registry_service_pb2 as registry_pb
from gateway.rest import convert, multipart, sources
from gateway.rest.caller import Caller, Mesh
from gateway.rest.problems import answers
from gateway.rest.sse import EventStream, event
from gateway.rest.task_models import (
    WORKSPACE,
    BuildAndPushIn,
    BuildIn,
    PushIn,
    Result,
    Status,
    Task,
    TaskBegun,
    Tasks,
    form_body,
)
from mesh.errors import AlreadyExists, MeshError, NotFound

router = APIRouter(prefix="/api/v1", tags=["builds"])

_WATCH_S = 900.0
_PATH = "tasks"
_WORDS: dict[int, Status] = {
    build_pb2.BUILD_STATE_PENDING: "pending",
    build_pb2.BUILD_STATE_BUILDING: "building",
    build_pb2.BUILD_STATE_PUSHING: "pushing",
    build_pb2.BUILD_STATE_DONE: "done",
    build_pb2.BUILD_STATE_FAILED: "failed",
    build_pb2.BUILD_STATE_CANCELLED: "failed",
}
_ENDED = ("done", "failed")
M = TypeVar("M", bound=BaseModel)

TaskId = Annotated[uuid.UUID, Path(description="Identifier of the task.")]
OfWorkspace = Annotated[
    str | None,
    Query(pattern=WORKSPACE, description="The task must be one of this workspace.", examples=["my-workspace"]),
]


class Places:
    """Names for what is in the blob store, below its URL."""

    def __init__(self, blob_url: str) -> None:
        self._root = (blob_url if "://" in blob_url else f"file://{blob_url}").rstrip("/")

    def source(self, workspace: str, task_id: str) -> str:
        """Names the source of a task."""
        return f"{self._root}/build-sources/{workspace}/{task_id}/"

    def wasm(self, task_id: str) -> str:
        """Names the component that a task made."""
        return f"{self._root}/build-artifacts/{task_id}/app.wasm"


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
    given, digest = await _form(request, mesh, BuildIn)
    function = await _function(mesh, given.workspace_id, given.app_name)
    made = await _begin(mesh, function.name, digest, None)
    return _begun(made, given.workspace_id, "Build task created", places)


@router.post(
    "/build-and-push",
    status_code=202,
    responses=answers(404, 409, 413, 415),
    openapi_extra=form_body(BuildAndPushIn),
    summary="Build a Spin component and push it to a registry",
)
async def build_and_push(request: Request, mesh: Mesh, places: InStore) -> TaskBegun:
    given, digest = await _form(request, mesh, BuildAndPushIn)
    function = await _function(mesh, given.workspace_id, given.app_name)
    made = await _begin(mesh, function.name, digest, _push(given))
    return _begun(made, given.workspace_id, "Build and push task created", places)


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
    given = _checked(PushIn, await _values(request))
    built = await _built(mesh, given)
    if given.workspace_id is not None:
        await _check_workspace(mesh, built, given.workspace_id)
    made = await _begin(mesh, built.function, built.source_digest, _push(given))
    return _begun(made, given.workspace_id or built.function.split("/")[1], "Push task created", places)


@router.get("/tasks/{task_id}", responses=answers(404), summary="One task")
async def get_task(task_id: TaskId, mesh: Mesh, places: InStore, workspace_id: OfWorkspace = None) -> Task:
    return _task(await _find(mesh, task_id, workspace_id), places)


@router.get(
    "/tasks/{task_id}/events",
    response_class=Response,
    responses={
        **answers(404),
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "Server-sent events."},
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
    if _WORDS[found.state] in _ENDED and after >= found.last_sequence:
        return Response(status_code=204)
    return EventStream(_events(mesh, found, after, places))


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
    found = [_task(one, places) for one in answer.builds]
    return Tasks(tasks=found, count=len(found), next_page_token=answer.next_page_token)


async def _form(request: Request, mesh: Caller, model: type[M]) -> tuple[M, str]:
    """What a form says, and the digest of its file, which is sent on as it comes."""

    async def keep(filename: str, content: AsyncIterator[bytes]) -> str:
        broken: list[HTTPException] = []

        async def watched() -> AsyncIterator[bytes]:
            try:
                async for piece in content:
                    yield piece
            except HTTPException as error:
                broken.append(error)
                raise

        name = _source_name(filename)
        try:
            return await sources.upload(mesh, name, watched())
        except (asyncio.CancelledError, MeshError):  # what gRPC makes of an iterator that fails
            if broken:
                raise broken[0] from None
            raise

    form = await multipart.read(request, "file", keep)
    given = _checked(model, {name: value for name, value in form.fields.items() if value})
    if form.file is None:
        raise _invalid("file", "A file is missing: send a .py or a .zip as 'file'.")
    return given, form.file


def _source_name(filename: str) -> str:
    """What a file is called in its source: a single file is always the same app."""
    ending = filename.lower().rpartition(".")[2]
    if ending not in ("py", "zip"):
        raise _invalid("file", "The file must be a .py or a .zip.")
    return "app.py" if ending == "py" else "source.zip"


async def _values(request: Request) -> Mapping[str, Any]:
    """The fields of a body that is JSON or a form."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "multipart/form-data":

        async def refuse(filename: str, content: AsyncIterator[bytes]) -> str:
            raise _invalid("file", "A push takes no file: name what was built.")

        form = await multipart.read(request, "file", refuse)
        return {name: value for name, value in form.fields.items() if value}
    try:
        found = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise HTTPException(400, "The body is not JSON.") from None
    return found if isinstance(found, dict) else {"": found}


def _checked(model: type[M], values: Mapping[str, Any]) -> M:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in found]) from None


def _invalid(name: str, message: str) -> RequestValidationError:
    return RequestValidationError([{"loc": ("body", name), "msg": message, "type": "value_error"}])


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
        raise _invalid("task_id", "Name what to push: task_id, wasm_path or image.")
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


async def _events(mesh: Caller, found: build_pb2.Build, after: int, places: Places) -> AsyncGenerator[bytes, None]:
    request = build_pb.WatchBuildRequest(name=f"builds/{found.uid}", after_sequence=after)
    async for one in mesh.build.WatchBuild(request, timeout=_WATCH_S):
        match one.WhichOneof("event"):
            case "progress":
                told = {"stage": _stage(one.progress.stage), "percent": one.progress.percent}
                yield event(json.dumps(told), name="progress", number=one.sequence)
            case "log_line":
                told = {"stage": _stage(one.log_line.stage), "line": one.log_line.text}
                yield event(json.dumps(told), name="log", number=one.sequence)
            case "state_change":
                task = _task(one.state_change.build, places)
                yield event(task.model_dump_json(), name="status", number=one.sequence)


def _begun(made: build_pb2.Build, workspace: str, message: str, places: Places) -> TaskBegun:
    return TaskBegun(task_id=made.uid, message=message, source_s3_path=places.source(workspace, made.uid))


def _task(found: build_pb2.Build, places: Places) -> Task:
    status = _WORDS[found.state]
    result = None
    if status == "done":
        is_image = found.artifact.kind == revision_pb2.ARTIFACT_KIND_IMAGE
        result = Result(wasm_path=None if is_image else places.wasm(found.uid), image_url=found.push.image or None)
    _, workspace, _, function = found.function.split("/")
    return Task(
        task_id=found.uid,
        status=status,
        result=result,
        error=found.error or None,
        error_message=found.error or None,
        workspace_id=workspace,
        function_id=function,
        percent=found.percent,
        stage=_stage(found.stage),
        created_at=convert.time_of(found.create_time),
        started_at=convert.time_of(found.start_time) if found.HasField("start_time") else None,
        completed_at=convert.time_of(found.end_time) if found.HasField("end_time") else None,
    )


def _stage(stage: int) -> str | None:
    return build_pb2.Stage.Name(stage).removeprefix("STAGE_").lower() if stage else None  # type: ignore[arg-type]
