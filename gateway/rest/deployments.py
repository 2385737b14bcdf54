"""Deploys of images: to a cluster where the mesh has one, else to its own machine."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request

from gateway.rest import app_views, cluster_deploys, local_deploys
from gateway.rest.caller import Mesh
from gateway.rest.deploy_models import Deployed, DeployIn, Namespace, Scaffold, ScaffoldIn
from gateway.rest.problems import answers
from mesh.errors import NotFound

router = APIRouter(prefix="/api/v1", tags=["deploys"])


def _namespaces(request: Request) -> frozenset[str]:
    found: frozenset[str] = request.app.state.namespaces
    return found


Namespaces = Annotated[frozenset[str], Depends(_namespaces)]


@router.post("/scaffold", responses=answers(404, 409), summary="The manifest that a deploy would apply")
async def scaffold(given: ScaffoldIn, mesh: Mesh) -> Scaffold:
    return await cluster_deploys.scaffold(mesh, given)


@router.post("/deploy", responses=answers(404, 409, 412), summary="Deploy an image of a registry")
async def deploy(given: DeployIn, mesh: Mesh, namespaces: Namespaces, http: Request) -> Deployed:
    if await cluster_deploys.is_there(mesh):
        return await cluster_deploys.deploy(mesh, given, http)
    local_deploys.check_namespace(given.namespace, namespaces)
    return await local_deploys.deploy(mesh, given, http)


@router.get("/deployments/{namespace}/{app_name}", responses=answers(404), summary="How an app is deployed")
async def get_deployment(
    namespace: Annotated[Namespace, Path()],
    app_name: Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")],
    mesh: Mesh,
    namespaces: Namespaces,
    http: Request,
) -> Deployed:
    app = await cluster_deploys.find(mesh, namespace, app_name)
    if app is None and namespace in namespaces:
        app = await local_deploys.find(mesh, namespace, app_name)
    if app is None:
        app = await cluster_deploys.search(mesh, namespace, app_name)
    if app is None:
        local_deploys.check_namespace(namespace, namespaces)
        raise NotFound("APP_NOT_FOUND", f"There is no app '{app_name}' in the namespace '{namespace}'.")
    return app_views.deployed(app, await app_views.deployment_of(mesh, app.function), "", http)
