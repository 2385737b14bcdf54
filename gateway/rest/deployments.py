"""Deploys of images to this mesh's own machine, in the words of clients that deployed them to a cluster."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request

from fnmesh.build.v1 import build_pb2
from fnmesh.build.v1 import build_service_pb2 as build_pb
from fnmesh.deploy.v1 import deploy_service_pb2 as deploy_pb
from fnmesh.deploy.v1 import deployment_pb2
from fnmesh.registry.v1 import function_pb2, revision_pb2
from fnmesh.registry.v1 import registry_service_pb2 as registry_pb
from gateway.rest import convert, function_views, manifests, quantities
from gateway.rest.app_names import made_up
from gateway.rest.caller import Caller, Mesh
from gateway.rest.deploy_models import Deployed, DeployIn, Namespace, Scaffold, ScaffoldIn
from gateway.rest.problems import answers
from mesh.errors import AlreadyExists, NotFound

router = APIRouter(prefix="/api/v1", tags=["deploys"])

_SERVICE_S = 5.0
_FETCH_S = 300.0
_ASKED_EVERY_S = 0.2
_NAMES_TRIED = 10
_LABEL, _SPOT, _ACCOUNT = "function_id", "rest/use_spot", "rest/service_account"
_SCALES = "rest/enable_autoscaling"
_FAILED = (build_pb2.BUILD_STATE_FAILED, build_pb2.BUILD_STATE_CANCELLED)


@dataclass(frozen=True)
class _Meant:
    """What an image is made of, and how that is run."""

    source_digest: str
    runtime: function_pb2.Runtime.ValueType = function_pb2.RUNTIME_SPIN
    target: function_pb2.Target.ValueType = function_pb2.TARGET_SPIN
    handler: str = ""


def _namespaces(request: Request) -> frozenset[str]:
    found: frozenset[str] = request.app.state.namespaces
    return found


Namespaces = Annotated[frozenset[str], Depends(_namespaces)]


@router.post("/scaffold", responses=answers(), summary="The manifest that a deploy would apply")
async def scaffold(given: ScaffoldIn, mesh: Mesh) -> Scaffold:
    name = given.app_name or made_up()
    built = await _built(mesh, given.image_ref)
    app = manifests.App(
        name,
        given.namespace,
        given.image_ref,
        given.wanted_replicas,
        given.function_id or "",
        given.cpu_limit or "",
        given.memory_limit or "",
        given.service_account or "",
        given.use_spot,
    )
    is_image = built is not None and built.artifact.kind == revision_pb2.ARTIFACT_KIND_IMAGE
    documents = manifests.deployment(app) if is_image else manifests.spin_app(app)
    return Scaffold(yaml=manifests.to_yaml(documents), app_name=name)


@router.post("/deploy", responses=answers(404, 409), summary="Deploy an image of a registry")
async def deploy(given: DeployIn, mesh: Mesh, namespaces: Namespaces, http: Request) -> Deployed:
    _check_namespace(given.namespace, namespaces)
    what = await _meant(mesh, given.image_ref)
    function = await _function(mesh, given, what)
    request = build_pb.CreateBuildRequest(parent=function.name)
    request.build.source_digest = what.source_digest
    request.build.deploy = True
    begun = await mesh.build.CreateBuild(request)  # what it makes is there already, or is made again
    return await _settled(mesh, function, given.namespace, begun, http)


@router.get("/deployments/{namespace}/{app_name}", responses=answers(404), summary="How an app is deployed")
async def get_deployment(
    namespace: Annotated[Namespace, Path()],
    app_name: Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")],
    mesh: Mesh,
    namespaces: Namespaces,
    http: Request,
) -> Deployed:
    _check_namespace(namespace, namespaces)
    name = f"{convert.DEFAULT_WORKSPACE}/functions/{app_name}"
    function = await mesh.registry.GetFunction(registry_pb.GetFunctionRequest(name=name))
    return _deployed(function, namespace, await _deployment(mesh, function), "", http)


def _check_namespace(namespace: str, known: frozenset[str]) -> None:
    if namespace not in known:
        raise NotFound("NAMESPACE_NOT_FOUND", f"Namespace '{namespace}' not found")


async def _built(mesh: Caller, image: str) -> build_pb2.Build | None:
    """The newest build that was pushed as that."""
    request = build_pb.ListBuildsRequest(parent="workspaces/-/functions/-", page_size=1, pushed_as=image)
    for one in (await mesh.build.ListBuilds(request)).builds:
        found: build_pb2.Build = one
        return found
    return None


async def _meant(mesh: Caller, image: str) -> _Meant:
    """What this mesh pushed under that name, else what the registry has there."""
    built = await _built(mesh, image)
    if built is None:
        request = build_pb.ImportSourceRequest(image=image)
        fetched = await mesh.build.ImportSource(request, timeout=_FETCH_S)
        return _Meant(fetched.source_digest)
    if built.artifact.kind != revision_pb2.ARTIFACT_KIND_IMAGE:
        return _Meant(built.source_digest)
    function = await mesh.registry.GetFunction(registry_pb.GetFunctionRequest(name=built.function))
    return _Meant(built.source_digest, function.runtime, function_pb2.TARGET_DOCKER, function.handler)


async def _function(mesh: Caller, given: DeployIn, what: _Meant) -> function_pb2.Function:
    """The function that gets the deployment, with the settings that are asked for."""
    wanted = function_pb2.Function(
        runtime=what.runtime,
        target=what.target,
        handler=what.handler,
        labels={_SPOT: str(given.use_spot).lower(), _SCALES: str(given.enable_autoscaling).lower()},
    )
    if given.function_id:
        wanted.labels[_LABEL] = given.function_id
    if given.service_account:
        wanted.labels[_ACCOUNT] = given.service_account
    if given.cpu_limit:
        wanted.limits.cpu_millis = quantities.cpu_millis(given.cpu_limit)
    if given.memory_limit:
        wanted.limits.memory_bytes = quantities.memory_bytes(given.memory_limit)
    if given.wanted_replicas is not None:
        wanted.scaling.min_instances = wanted.scaling.max_instances = given.wanted_replicas
    found = await _named(mesh, given)
    if found is None:
        return await _create(mesh, given.app_name, wanted)
    return await _change(mesh, found, given, wanted)


async def _named(mesh: Caller, given: DeployIn) -> function_pb2.Function | None:
    """The function that `function_id` names, else the one that is called like the app."""
    names = [f"workspaces/-/functions/{given.function_id}"] if (given.function_id or "").startswith("fn-") else []
    names += [f"{convert.DEFAULT_WORKSPACE}/functions/{given.app_name}"] if given.app_name else []
    for name in names:
        try:
            found: function_pb2.Function = await mesh.registry.GetFunction(registry_pb.GetFunctionRequest(name=name))
        except NotFound:
            continue
        return found
    return None


async def _create(mesh: Caller, app_name: str | None, wanted: function_pb2.Function) -> function_pb2.Function:
    for attempt in range(_NAMES_TRIED):
        wanted.display_name = wanted.path = app_name or made_up()
        request = registry_pb.CreateFunctionRequest(parent=convert.DEFAULT_WORKSPACE, function=wanted)
        try:
            made: function_pb2.Function = await mesh.registry.CreateFunction(request)
        except AlreadyExists:
            if app_name or attempt == _NAMES_TRIED - 1:
                raise
            continue
        return made
    raise AssertionError("the last attempt returns or raises")


async def _change(
    mesh: Caller, found: function_pb2.Function, given: DeployIn, wanted: function_pb2.Function
) -> function_pb2.Function:
    wanted.name = found.name
    paths = ["runtime", "target", "handler", "labels"]
    labels = {**found.labels, **wanted.labels}
    wanted.labels.clear()
    wanted.labels.update(labels)
    paths += ["limits.cpu_millis"] if given.cpu_limit else []
    paths += ["limits.memory_bytes"] if given.memory_limit else []
    paths += ["scaling.min_instances", "scaling.max_instances"]
    if found.path.startswith("tasks/"):  # until now it only was what builds were of
        wanted.path = found.display_name
        paths.append("path")
    request = registry_pb.UpdateFunctionRequest(function=wanted, defer_rollout=True)
    request.update_mask.paths.extend(paths)
    changed: function_pb2.Function = await mesh.registry.UpdateFunction(request)
    return changed


async def _settled(
    mesh: Caller, function: function_pb2.Function, namespace: str, begun: build_pb2.Build, http: Request
) -> Deployed:
    """How it is once the new revision answers, or after five seconds."""
    number = int(begun.revision.rpartition("/")[2] or 0)
    until = time.monotonic() + _SERVICE_S
    error, deployment = "", None
    while not error and time.monotonic() < until:
        deployment = await _deployment(mesh, function)
        if deployment is not None and _serves(deployment, number):
            break
        build = await mesh.build.GetBuild(build_pb.GetBuildRequest(name=begun.name))
        if build.state in _FAILED:
            error = build.error
        elif deployment is not None and deployment.desired_revision == number:
            error = deployment.message if deployment.state == function_pb2.DEPLOYMENT_STATE_FAILED else ""
        await asyncio.sleep(_ASKED_EVERY_S)
    return _deployed(function, namespace, deployment, error, http)


def _serves(deployment: deployment_pb2.Deployment, number: int) -> bool:
    return deployment.desired_revision == number and deployment.state == function_pb2.DEPLOYMENT_STATE_READY


async def _deployment(mesh: Caller, function: function_pb2.Function) -> deployment_pb2.Deployment | None:
    try:
        found: deployment_pb2.Deployment = await mesh.deploy.GetDeployment(
            deploy_pb.GetDeploymentRequest(name=f"{function.name}/deployment")
        )
    except NotFound:
        return None
    return found


def _deployed(
    function: function_pb2.Function,
    namespace: str,
    deployment: deployment_pb2.Deployment | None,
    error: str,
    http: Request,
) -> Deployed:
    there = deployment is not None and (
        bool(deployment.ready_revisions) or deployment.state == function_pb2.DEPLOYMENT_STATE_READY
    )
    name = function.display_name
    return Deployed(
        app_name=name,
        namespace=namespace,
        service_name=name,
        service_status="found" if there else "pending",
        endpoint=f"{name}.{namespace}.svc.cluster.local" if there else None,
        enable_autoscaling=function.labels.get(_SCALES) != "false",
        use_spot=function.labels.get(_SPOT) == "true",
        error=error or None,
        url=function_views.url_of(function, http),
        function_id=function.uid,
    )
