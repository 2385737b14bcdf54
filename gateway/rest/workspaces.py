"""Workspaces, with what ran in them."""

from __future__ import annotations

from collections import defaultdict
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from fnmesh.invoke.v1 import stats_service_pb2 as stats_pb
from fnmesh.registry.v1 import registry_service_pb2 as registry_pb
from fnmesh.registry.v1 import workspace_pb2
from gateway.rest import convert, listings, words
from gateway.rest.caller import Caller, Mesh
from gateway.rest.problems import answers

router = APIRouter(prefix="/api/workspaces", tags=["workspaces"])


WorkspaceId = Annotated[
    str,
    Path(
        pattern=r"^[a-z0-9][a-z0-9-]{0,62}$",
        description="Identifier or name of the workspace.",
        examples=["ws-default"],
    ),
]


class WorkspaceIn(words.Given):
    """A workspace to make."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "demo", "description": "Demo workspace"}]})

    name: str = Field(pattern=words.WORKSPACE_NAME, description="1 to 63 characters of a-z, 0-9 and -.")
    description: words.Description = ""


class WorkspaceChange(words.Given):
    """What to change of a workspace; what is not there stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"description": "Ours"}]})

    name: str | None = Field(default=None, pattern=words.WORKSPACE_NAME)
    description: words.Description | None = None


class Workspace(BaseModel):
    """A workspace, and what ran in it within a day."""

    id: str
    workspace_id: str
    name: str
    description: str
    functionCount: int
    invocations24h: int
    errors24h: int
    errorRate: float = Field(description="Failed invocations of all, 0 to 1.")
    createdAt: str
    updatedAt: str


@router.post("", status_code=201, responses=answers(409), summary="Make a workspace")
async def create_workspace(given: WorkspaceIn, mesh: Mesh) -> Workspace:
    request = registry_pb.CreateWorkspaceRequest(
        workspace=workspace_pb2.Workspace(display_name=given.name, description=given.description)
    )
    return _workspace(await mesh.registry.CreateWorkspace(request), 0, 0)


@router.get("", responses=answers(), summary="All workspaces")
async def list_workspaces(mesh: Mesh) -> list[Workspace]:
    found = [one async for one in listings.workspaces(mesh)]
    runs = await _runs(mesh, "-")
    return [_workspace(one, *runs[one.uid]) for one in found]


@router.get("/{workspace_id}", responses=answers(404), summary="One workspace")
async def get_workspace(workspace_id: WorkspaceId, mesh: Mesh) -> Workspace:
    request = registry_pb.GetWorkspaceRequest(name=f"workspaces/{workspace_id}")
    return await _whole(mesh, await mesh.registry.GetWorkspace(request))


@router.patch("/{workspace_id}", responses=answers(404, 409), summary="Change a workspace")
async def update_workspace(workspace_id: WorkspaceId, given: WorkspaceChange, mesh: Mesh) -> Workspace:
    request = registry_pb.UpdateWorkspaceRequest(workspace=workspace_pb2.Workspace(name=f"workspaces/{workspace_id}"))
    if given.name is not None:
        request.workspace.display_name = given.name
        request.update_mask.paths.append("display_name")
    if given.description is not None:
        request.workspace.description = given.description
        request.update_mask.paths.append("description")
    if not request.update_mask.paths:
        return await get_workspace(workspace_id, mesh)
    return await _whole(mesh, await mesh.registry.UpdateWorkspace(request))


@router.delete(
    "/{workspace_id}", status_code=204, responses=answers(404, 409), summary="Delete a workspace with all that is in it"
)
async def delete_workspace(workspace_id: WorkspaceId, mesh: Mesh) -> None:
    await mesh.registry.DeleteWorkspace(registry_pb.DeleteWorkspaceRequest(name=f"workspaces/{workspace_id}"))


async def _whole(mesh: Caller, workspace: workspace_pb2.Workspace) -> Workspace:
    return _workspace(workspace, *(await _runs(mesh, workspace.uid))[workspace.uid])


async def _runs(mesh: Caller, workspace: str) -> dict[str, tuple[int, int]]:
    """Invocations and failures within a day, by identifier of the workspace."""
    request = stats_pb.ListFunctionStatsRequest(parent=f"workspaces/{workspace}/functions/-")
    counts: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for one in (await mesh.stats.ListFunctionStats(request)).stats:
        uid = one.function.split("/")[1]
        runs, failures = counts[uid]
        counts[uid] = (runs + one.invocations, failures + one.failures)
    return counts


def _workspace(workspace: workspace_pb2.Workspace, runs: int, failures: int) -> Workspace:
    return Workspace(
        id=workspace.uid,
        workspace_id=workspace.uid,
        name=workspace.display_name,
        description=workspace.description,
        functionCount=workspace.function_count,
        invocations24h=runs,
        errors24h=failures,
        errorRate=failures / runs if runs else 0.0,
        createdAt=convert.time_of(workspace.create_time),
        updatedAt=convert.time_of(workspace.update_time),
    )
