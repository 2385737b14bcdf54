"""Deploys of images to a cluster, where the mesh has one."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from fnmesh.build.v1 import build_service_pb2 as build_pb
from fnmesh.deploy.v1 import deploy_service_pb2 as deploy_pb
from fnmesh.registry.v1 import function_pb2
from gateway.rest import app_functions, app_views, listings, local_deploys
from gateway.rest.app_names import made_up
from gateway.rest.app_views import App
from gateway.rest.caller import Caller
from gateway.rest.deploy_models import Deployed, DeployIn, Scaffold
from mesh.errors import FailedPrecondition, NotFound, Unavailable

_FETCH_S = 120.0
_NAME_CHARACTERS = 63


@dataclass(frozen=True)
class _Wish:
    """The function that a deploy is for as it would be; `found` as it is, if it is; `paths` what changes."""

    function: function_pb2.Function
    found: function_pb2.Function | None
    said: function_pb2.Function
    paths: list[str]


async def is_there(mesh: Caller) -> bool:
    """Whether deploys go to a cluster. Raises Unavailable where they should and it does not answer."""
    found = await _target(mesh)
    if found.contexts and not found.available:
        raise Unavailable("CLUSTER_UNAVAILABLE", found.message)
    return found.available


async def check(mesh: Caller) -> None:
    """Raises FailedPrecondition (TARGET_UNAVAILABLE) where this mesh has no cluster, and what `is_there` raises."""
    if not await is_there(mesh):
        raise FailedPrecondition("TARGET_UNAVAILABLE", (await _target(mesh)).message)


async def deploy(mesh: Caller, given: DeployIn, http: Request) -> Deployed:
    """Runs an image as it is. Nothing is made or changed where the cluster would not take it."""
    image = await mesh.build.ResolveImage(build_pb.ResolveImageRequest(image=given.image_ref), timeout=_FETCH_S)
    wish = await _wish(mesh, given, image)
    rendered = await mesh.deploy.RenderManifests(
        deploy_pb.RenderManifestsRequest(function=wish.function, image=image.image, ask_cluster=True)
    )
    if wish.found is None:
        function = await _create(mesh, given, wish)
    else:
        if not wish.function.cluster.app_name:  # from now on it is what the name was made into
            wish.said.cluster.app_name = rendered.app_name
            wish.paths.append("cluster.app_name")
        function = await app_functions.change(mesh, wish.found, wish.said, wish.paths)
    request = build_pb.CreateBuildRequest(parent=function.name)
    request.build.image = image.image
    request.build.deploy = True
    begun = await mesh.build.CreateBuild(request)
    return await app_views.settled(mesh, _app(function, _name_of(function)), begun, http)


async def scaffold(mesh: Caller, given: DeployIn) -> Scaffold:
    """What a deploy would apply. Without a cluster no registry is asked: what this mesh did not push is taken for a
    Spin application, and the image stays as it is written.
    """
    image = await _resolved(mesh, given.image_ref) if (await _target(mesh)).available else None
    if image is None:
        runtime, handler = await local_deploys.pushed_as(mesh, given.image_ref)
        image = build_pb.ResolveImageResponse(image=given.image_ref, runtime=runtime, handler=handler)
    wish = await _wish(mesh, given, image)
    rendered = await mesh.deploy.RenderManifests(
        deploy_pb.RenderManifestsRequest(function=wish.function, image=image.image)
    )
    return Scaffold(yaml=rendered.yaml, app_name=rendered.app_name)


async def _resolved(mesh: Caller, image: str) -> build_pb.ResolveImageResponse | None:
    """The image; None for one that cannot be looked at."""
    try:
        found: build_pb.ResolveImageResponse = await mesh.build.ResolveImage(
            build_pb.ResolveImageRequest(image=image), timeout=_FETCH_S
        )
    except (NotFound, FailedPrecondition, Unavailable):
        return None
    return found


async def find(mesh: Caller, namespace: str, app_name: str) -> App | None:
    """The app of that name on the cluster, where its function has that name too."""
    for name in _names(app_name, namespace):
        found = await app_functions.find(mesh, app_functions.in_default(name))
        if found is not None and _is_in(found, namespace) and _name_of(found) == app_name:
            return _app(found, app_name)
    return None


async def search(mesh: Caller, namespace: str, app_name: str) -> App | None:
    """The app of that name on the cluster, of whatever function: one that a deploy's `function_id` named."""
    async for one in listings.functions(mesh, listings.EVERYWHERE):
        if _is_in(one, namespace) and _name_of(one) == app_name:
            return _app(one, app_name)
    return None


async def _target(mesh: Caller) -> deploy_pb.TargetStatus:
    for one in (await mesh.deploy.ListTargets(deploy_pb.ListTargetsRequest())).targets:
        if one.target == function_pb2.TARGET_KUBERNETES:
            found: deploy_pb.TargetStatus = one
            return found
    return deploy_pb.TargetStatus(message="This mesh deploys to no cluster.")


async def _wish(mesh: Caller, given: DeployIn, image: build_pb.ResolveImageResponse) -> _Wish:
    said, paths = app_functions.said_of(given)
    said.runtime, said.handler, said.target = image.runtime, image.handler, function_pb2.TARGET_KUBERNETES
    said.cluster.namespace = given.namespace
    said.cluster.use_spot, said.cluster.autoscaling = given.use_spot, given.enable_autoscaling
    paths += ["runtime", "handler", "target", "cluster.namespace", "cluster.use_spot", "cluster.autoscaling"]
    if given.app_name:
        said.cluster.app_name = given.app_name
        paths.append("cluster.app_name")
    if given.service_account:
        said.cluster.service_account = given.service_account
        paths.append("cluster.service_account")
    found = await _named(mesh, given)
    function = function_pb2.Function()
    if found is None:
        said.cluster.app_name = given.app_name or made_up()
        function.CopyFrom(said)
        function.display_name = said.cluster.app_name
    else:
        function.CopyFrom(found)
        function.ClearField("scaling")
        function.MergeFrom(said)
        function.cluster.use_spot, function.cluster.autoscaling = given.use_spot, given.enable_autoscaling
    return _Wish(function, found, said, paths)


async def _named(mesh: Caller, given: DeployIn) -> function_pb2.Function | None:
    """The function that `function_id` names, else the one that is that app, or could become it."""
    if (found := await app_functions.by_id(mesh, given.function_id)) is not None:
        return found
    for name in _names(given.app_name, given.namespace) if given.app_name else ():
        found = await app_functions.find(mesh, app_functions.in_default(name))
        if found is not None and (found.target != function_pb2.TARGET_KUBERNETES or _is_in(found, given.namespace)):
            return found
    return None


async def _create(mesh: Caller, given: DeployIn, wish: _Wish) -> function_pb2.Function:
    """A function of the app's name, or where that is an app of another namespace, of one that says which."""
    if given.app_name is None:

        def named(name: str) -> None:
            wish.said.cluster.app_name = name

        return await app_functions.create(mesh, None, wish.said, named)
    plain, long = _names(given.app_name, given.namespace)
    taken = await app_functions.find(mesh, app_functions.in_default(plain)) is not None
    return await app_functions.create(mesh, long if taken else plain, wish.said)


def _names(app_name: str, namespace: str) -> tuple[str, str]:
    """Names that the function of an app may have."""
    return app_name, f"{app_name}-in-{namespace}"[:_NAME_CHARACTERS].rstrip("-")


def _is_in(function: function_pb2.Function, namespace: str) -> bool:
    return function.target == function_pb2.TARGET_KUBERNETES and function.cluster.namespace == namespace


def _name_of(function: function_pb2.Function) -> str:
    return function.cluster.app_name or function.display_name


def _app(function: function_pb2.Function, name: str) -> App:
    found = function.cluster
    return App(function, name, found.namespace, autoscaling=found.autoscaling, use_spot=found.use_spot)
