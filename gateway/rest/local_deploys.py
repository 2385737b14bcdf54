"""Deploys of images to this mesh's own machine, in the words of clients that deployed them to a cluster."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from fastapi import Request

from fnmesh.build.v1 import build_pb2
from fnmesh.build.v1 import build_service_pb2 as build_pb
from fnmesh.registry.v1 import function_pb2, revision_pb2
from fnmesh.registry.v1 import registry_service_pb2 as registry_pb
from gateway.rest import app_functions, app_views
from gateway.rest.app_views import App
from gateway.rest.caller import Caller
from gateway.rest.deploy_models import Deployed, DeployIn
from mesh.errors import NotFound

_FETCH_S = 300.0
_SPOT, _ACCOUNT, _SCALES = "rest/use_spot", "rest/service_account", "rest/enable_autoscaling"


@dataclass(frozen=True)
class _Meant:
    """What an image is made of, and how that is run."""

    source_digest: str
    runtime: function_pb2.Runtime.ValueType = function_pb2.RUNTIME_SPIN
    target: function_pb2.Target.ValueType = function_pb2.TARGET_SPIN
    handler: str = ""


def check_namespace(namespace: str, known: Collection[str]) -> None:
    """Raises NotFound for a namespace that clients may not deploy to here."""
    if namespace not in known:
        raise NotFound("NAMESPACE_NOT_FOUND", f"Namespace '{namespace}' not found")


async def deploy(mesh: Caller, given: DeployIn, http: Request) -> Deployed:
    """Deploys an image that this mesh pushed, or that a registry has."""
    what = await _meant(mesh, given.image_ref)
    function = await _function(mesh, given, what)
    request = build_pb.CreateBuildRequest(parent=function.name)
    request.build.source_digest = what.source_digest
    request.build.deploy = True
    begun = await mesh.build.CreateBuild(request)  # what it makes is there already, or is made again
    return await app_views.settled(mesh, app_of(function, given.namespace), begun, http)


async def find(mesh: Caller, namespace: str, app_name: str) -> App | None:
    """The app of that name on this machine."""
    found = await app_functions.find(mesh, app_functions.in_default(app_name))
    return None if found is None else app_of(found, namespace)


def app_of(function: function_pb2.Function, namespace: str) -> App:
    """The app that a function of this machine is."""
    return App(
        function,
        function.display_name,
        namespace,
        autoscaling=function.labels.get(_SCALES) != "false",
        use_spot=function.labels.get(_SPOT) == "true",
    )


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
    runtime, handler = await _written_for(mesh, built)
    return _Meant(built.source_digest, runtime, function_pb2.TARGET_DOCKER, handler)


async def pushed_as(mesh: Caller, image: str) -> tuple[function_pb2.Runtime.ValueType, str]:
    """Runtime and handler of what this mesh pushed under that name; a Spin application where it pushed nothing."""
    built = await _built(mesh, image)
    if built is None or built.artifact.kind != revision_pb2.ARTIFACT_KIND_IMAGE:
        return function_pb2.RUNTIME_SPIN, ""
    return await _written_for(mesh, built)


async def _written_for(mesh: Caller, built: build_pb2.Build) -> tuple[function_pb2.Runtime.ValueType, str]:
    function = await mesh.registry.GetFunction(registry_pb.GetFunctionRequest(name=built.function))
    return function.runtime, function.handler


async def _function(mesh: Caller, given: DeployIn, what: _Meant) -> function_pb2.Function:
    """The function that gets the deployment, with the settings that are asked for."""
    wanted, paths = app_functions.said_of(given)
    wanted.runtime, wanted.target, wanted.handler = what.runtime, what.target, what.handler
    wanted.labels[_SPOT] = str(given.use_spot).lower()
    wanted.labels[_SCALES] = str(given.enable_autoscaling).lower()
    if given.service_account:
        wanted.labels[_ACCOUNT] = given.service_account
    found = await app_functions.by_id(mesh, given.function_id)
    if found is None and given.app_name:
        found = await app_functions.find(mesh, app_functions.in_default(given.app_name))
    if found is None:
        return await app_functions.create(mesh, given.app_name, wanted)
    return await app_functions.change(mesh, found, wanted, ["runtime", "target", "handler", *paths])
