"""How an app is deployed, as those who deployed it are told."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass

from fastapi import Request

from fnmesh.build.v1 import build_pb2
from fnmesh.build.v1 import build_service_pb2 as build_pb
from fnmesh.deploy.v1 import deploy_service_pb2 as deploy_pb
from fnmesh.deploy.v1 import deployment_pb2
from fnmesh.registry.v1 import function_pb2
from gateway.rest import function_views
from gateway.rest.caller import Caller
from gateway.rest.deploy_models import Deployed
from mesh.errors import MeshError, NotFound

_SERVICE_S = 5.0
_ASKED_EVERY_S = 0.2
_FAILED = (build_pb2.BUILD_STATE_FAILED, build_pb2.BUILD_STATE_CANCELLED)


@dataclass(frozen=True)
class App:
    """An app: what runs it, under which name and where, and what was asked for."""

    function: function_pb2.Function
    name: str
    namespace: str
    autoscaling: bool
    use_spot: bool


async def settled(mesh: Caller, app: App, begun: build_pb2.Build, http: Request) -> Deployed:
    """How it is once the new revision answers, or after five seconds."""
    number = int(begun.revision.rpartition("/")[2] or 0)
    until = time.monotonic() + _SERVICE_S
    error, deployment = "", None
    while not error and time.monotonic() < until:
        deployment = await deployment_of(mesh, app.function)
        if deployment is not None and _serves(deployment, number):
            await _shown(mesh, app.function)
            break
        build = await mesh.build.GetBuild(build_pb.GetBuildRequest(name=begun.name))
        if build.state in _FAILED:
            error = build.error
        elif deployment is not None and deployment.desired_revision == number:
            error = deployment.message if deployment.state == function_pb2.DEPLOYMENT_STATE_FAILED else ""
        await asyncio.sleep(_ASKED_EVERY_S)
    return deployed(app, deployment, error, http)


def _serves(deployment: deployment_pb2.Deployment, number: int) -> bool:
    return deployment.desired_revision == number and deployment.state == function_pb2.DEPLOYMENT_STATE_READY


async def deployment_of(mesh: Caller, function: function_pb2.Function) -> deployment_pb2.Deployment | None:
    """What runs of a function, if anything is known of that."""
    try:
        found: deployment_pb2.Deployment = await mesh.deploy.GetDeployment(
            deploy_pb.GetDeploymentRequest(name=f"{function.name}/deployment")
        )
    except NotFound:
        return None
    return found


async def _shown(mesh: Caller, function: function_pb2.Function) -> None:
    """Returns once the registry shows what deploy_svc says, too: a watch begins with that. It serves anyway."""
    watch = mesh.deploy.WatchDeployment(
        deploy_pb.WatchDeploymentRequest(name=f"{function.name}/deployment"), timeout=_SERVICE_S
    )
    with contextlib.suppress(MeshError):
        await watch.read()
    watch.cancel()


def deployed(app: App, deployment: deployment_pb2.Deployment | None, error: str, http: Request) -> Deployed:
    """The answer: `found` where something of it answers."""
    there = deployment is not None and (
        bool(deployment.ready_revisions) or deployment.state == function_pb2.DEPLOYMENT_STATE_READY
    )
    return Deployed(
        app_name=app.name,
        namespace=app.namespace,
        service_name=app.name,
        service_status="found" if there else "pending",
        endpoint=f"{app.name}.{app.namespace}.svc.cluster.local" if there else None,
        enable_autoscaling=app.autoscaling,
        use_spot=app.use_spot,
        error=error or None,
        url=function_views.url_of(app.function, http),
        function_id=app.function.uid,
    )
