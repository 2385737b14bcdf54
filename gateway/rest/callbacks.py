"""Callbacks: functions of the default workspace, seen by their numbers."""

from __future__ import annotations

import asyncio
import uuid
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from fnmesh.build.v1 import build_service_pb2 as build_pb
from fnmesh.registry.v1 import function_pb2
from fnmesh.registry.v1 import registry_service_pb2 as registry_pb
from gateway.rest import cluster_deploys, convert, listings, sources, words
from gateway.rest.caller import Caller, Mesh
from gateway.rest.codes import Code
from gateway.rest.problems import answers
from mesh.errors import AlreadyExists, NotFound

router = APIRouter(tags=["callbacks"])

_NAMES_TRIED = 50
_SOURCES_AT_ONCE = 2
_EXAMPLE: JsonDict = {
    "path": "my_python_function",
    "method": "POST",
    "type": "python",
    "code": 'def handler(event):\n    return {"statusCode": 200, "body": "Success"}',
    "library": "requests==2.32.3",
    "env": {"API_KEY": "secret_key_123"},
}

Number = Annotated[int, Path(ge=1, le=2**53, description="Number of the callback.", examples=[1001])]
Text = Annotated[str, Field(max_length=sources.CODE_BYTES)]
Route = Annotated[str, Field(min_length=1, max_length=255, pattern=words.PATH)]
Methods = Annotated[str, Field(max_length=200, pattern=words.METHODS)]


class CallbackIn(words.Given):
    """A callback to make."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    path: Route = Field(description="Where it answers, below /api/.")
    method: Methods = Field(default="POST", description="HTTP method, several with commas, or ANY.")
    type: Literal["python", "node"]
    code: Text = Field(min_length=1, description="Source text with a handler.")
    library: Text | None = Field(default=None, description="Text of requirements.txt or package.json.")
    env: words.Env = Field(default_factory=dict, description="Environment variables.")


class CallbackChange(words.Given):
    """What to change of a callback; what is not there stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"env": {"API_KEY": "****", "LOG_LEVEL": "DEBUG"}}]})

    path: Route | None = None
    method: Methods | None = None
    type: Literal["python", "node"] | None = None
    code: Text | None = Field(default=None, min_length=1)
    library: Text | None = None
    env: words.Env | None = Field(default=None, description="Replaces the whole map; `****` keeps a stored value.")


class Callback(BaseModel):
    """A callback."""

    callback_id: int
    path: str
    method: str
    type: convert.CodeType
    code: str = Field(description="Text of the entry file; empty where the source is larger than 16 MiB.")
    library: str | None
    env: dict[str, str] = Field(description="Values are masked.")
    status: bool = Field(description="Whether it is deployed.")
    created_at: str
    updated_at: str


class DeployIn(words.Given):
    """A callback to deploy, or to undeploy."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"callback_id": 1001, "status": True}]})

    callback_id: int = Field(ge=1, le=2**53)
    status: bool = Field(description="true deploys, false undeploys.")
    c_type: Literal["docker", "k8s", "kubernetes", "spin", "process"] | None = Field(
        default=None, description="Where it runs; Docker where it answers, else processes."
    )


class DeployBegun(BaseModel):
    """What was begun; it goes on in the background."""

    callback_id: int
    status: Literal["deploying", "undeploying"]
    task_id: str


@router.post("/callbacks/", status_code=201, responses=answers(409), summary="Make a callback")
async def create_callback(given: CallbackIn, mesh: Mesh) -> Callback:
    digest = await sources.upload_code(mesh, given.type, given.code, given.library)
    function = await _create(
        mesh,
        function_pb2.Function(
            path=given.path,
            methods=convert.methods_of(given.method),
            runtime=convert.runtime_of(given.type),
            env=given.env,
            source_digest=digest,
        ),
    )
    return _callback(function, Code(given.code, given.library))


@router.get("/callbacks/", responses=answers(), summary="All callbacks")
async def list_callbacks(mesh: Mesh) -> list[Callback]:
    found = [one async for one in listings.functions(mesh, convert.DEFAULT_WORKSPACE)]
    gate = asyncio.Semaphore(_SOURCES_AT_ONCE)

    async def whole(function: function_pb2.Function) -> Callback:
        async with gate:
            return _callback(function, await sources.read(mesh, function))

    found.sort(key=lambda function: function.number)
    return list(await asyncio.gather(*(whole(function) for function in found)))


@router.get("/callbacks/{callback_id}", responses=answers(404), summary="One callback")
async def get_callback(
    callback_id: Number,
    mesh: Mesh,
    reveal: Annotated[bool, Query(description="Show the values of env; needs an admin key.")] = False,
) -> Callback:
    function = await _find(mesh, callback_id)
    if reveal:
        request = registry_pb.GetFunctionRequest(name=function.name, reveal_env=True)
        function = await mesh.registry.GetFunction(request)
    return _callback(function, await sources.read(mesh, function))


@router.put("/callbacks/{callback_id}", responses=answers(404, 409), summary="Change a callback")
async def update_callback(callback_id: Number, given: CallbackChange, mesh: Mesh) -> Callback:
    function = await _find(mesh, callback_id)
    change = function_pb2.Function(name=function.name)
    paths: list[str] = []
    if given.path is not None:
        change.path = given.path
        paths.append("path")
    if given.method is not None:
        change.methods.extend(convert.methods_of(given.method))
        paths.append("methods")
    if given.env is not None:
        change.env.update(given.env)
        paths.append("env")
    if given.type is not None:
        change.runtime = convert.runtime_of(given.type)
        paths.append("runtime")
    if given.code is not None or given.library is not None or (given.type is not None and function.source_digest):
        code, library = await sources.changed(mesh, function, given.code, given.library)
        kind = given.type or convert.type_of(function.runtime)
        change.source_digest = await sources.upload_code(mesh, kind, code, library)
        paths.append("source_digest")
    if paths:
        request = registry_pb.UpdateFunctionRequest(function=change)
        request.update_mask.paths.extend(paths)
        function = await mesh.registry.UpdateFunction(request)
    return _callback(function, await sources.read(mesh, function))


@router.delete("/callbacks/{callback_id}", status_code=204, responses=answers(404), summary="Delete a callback")
async def delete_callback(callback_id: Number, mesh: Mesh) -> None:
    function = await _find(mesh, callback_id)
    await mesh.registry.DeleteFunction(registry_pb.DeleteFunctionRequest(name=function.name))


@router.post("/deploy/", status_code=202, responses=answers(404, 409), summary="Deploy or undeploy a callback")
@router.post("/callback/deploy", status_code=202, responses=answers(404, 409), summary="The older spelling")
async def deploy_callback(given: DeployIn, mesh: Mesh) -> DeployBegun:
    function = await _find(mesh, given.callback_id)
    if not given.status:
        await mesh.registry.StopFunction(registry_pb.StopFunctionRequest(name=function.name))
        return DeployBegun(callback_id=given.callback_id, status="undeploying", task_id=str(uuid.uuid4()))
    target = convert.target_of(given.c_type) if given.c_type else function.target
    if target == function_pb2.TARGET_KUBERNETES:
        await cluster_deploys.check(mesh)
    if target != function.target:
        request = registry_pb.UpdateFunctionRequest(
            function=function_pb2.Function(name=function.name, target=target), defer_rollout=True
        )
        request.update_mask.paths.append("target")
        await mesh.registry.UpdateFunction(request)
    build = build_pb.CreateBuildRequest(parent=function.name)
    build.build.deploy = True
    made = await mesh.build.CreateBuild(build)
    return DeployBegun(callback_id=given.callback_id, status="deploying", task_id=made.uid)


async def _create(mesh: Caller, function: function_pb2.Function) -> function_pb2.Function:
    """Makes the function under the first free name that its path gives."""
    for attempt in range(1, _NAMES_TRIED):
        function.display_name = convert.name_for(function.path, attempt)
        request = registry_pb.CreateFunctionRequest(parent=convert.DEFAULT_WORKSPACE, function=function)
        try:
            made: function_pb2.Function = await mesh.registry.CreateFunction(request)
        except AlreadyExists as error:
            if error.reason != "NAME_TAKEN":
                raise
            continue
        return made
    raise AlreadyExists("NAME_TAKEN", f"All names like '{function.display_name}' are taken; delete some of them.")


async def _find(mesh: Caller, number: int) -> function_pb2.Function:
    request = registry_pb.ListFunctionsRequest(parent=convert.DEFAULT_WORKSPACE, number=number, page_size=1)
    found = (await mesh.registry.ListFunctions(request)).functions
    if not found:
        raise NotFound("CALLBACK_NOT_FOUND", f"There is no callback {number}.")
    function: function_pb2.Function = found[0]
    return function


def _callback(function: function_pb2.Function, code: Code) -> Callback:
    return Callback(
        callback_id=function.number,
        path=function.path,
        method=convert.method_of(function.methods),
        type=convert.type_of(function.runtime),
        code=code.code,
        library=code.library,
        env=dict(function.env),
        status=function.running,
        created_at=convert.time_of(function.create_time),
        updated_at=convert.time_of(function.update_time),
    )
