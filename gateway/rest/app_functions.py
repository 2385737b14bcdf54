"""The functions that apps are: found by what a deploy says, made where there is none yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fnmesh.registry.v1 import function_pb2
from fnmesh.registry.v1 import registry_service_pb2 as registry_pb
from gateway.rest import convert, quantities
from gateway.rest.app_names import made_up
from gateway.rest.caller import Caller
from gateway.rest.deploy_models import DeployIn
from mesh.errors import AlreadyExists, NotFound

_NAMES_TRIED = 10
_LABEL = "function_id"


def in_default(name: str) -> str:
    """The resource name of a function of the default workspace."""
    return f"{convert.DEFAULT_WORKSPACE}/functions/{name}"


def said_of(given: DeployIn) -> tuple[function_pb2.Function, list[str]]:
    """What a deploy says of its function wherever that runs, and which fields those are."""
    wanted, paths = function_pb2.Function(), list[str]()
    if given.function_id:
        wanted.labels[_LABEL] = given.function_id
    if given.cpu_limit:
        wanted.limits.cpu_millis = quantities.cpu_millis(given.cpu_limit)
        paths.append("limits.cpu_millis")
    if given.memory_limit:
        wanted.limits.memory_bytes = quantities.memory_bytes(given.memory_limit)
        paths.append("limits.memory_bytes")
    if given.wanted_replicas is not None:
        wanted.scaling.min_instances = wanted.scaling.max_instances = given.wanted_replicas
    return wanted, [*paths, "scaling.min_instances", "scaling.max_instances"]


async def by_id(mesh: Caller, function_id: str | None) -> function_pb2.Function | None:
    """The function that a deploy's `function_id` names; to others it is a label."""
    return await find(mesh, f"workspaces/-/functions/{function_id}") if (function_id or "").startswith("fn-") else None


async def find(mesh: Caller, name: str) -> function_pb2.Function | None:
    """The function of that resource name, if there is one."""
    try:
        found: function_pb2.Function = await mesh.registry.GetFunction(registry_pb.GetFunctionRequest(name=name))
    except NotFound:
        return None
    return found


async def create(
    mesh: Caller, app_name: str | None, wanted: function_pb2.Function, named: Callable[[str], None] | None = None
) -> function_pb2.Function:
    """A new function of the default workspace, under a made-up name where none is given; `named` is told each that is
    tried. AlreadyExists.
    """
    for attempt in range(_NAMES_TRIED):
        wanted.display_name = wanted.path = app_name or made_up()
        if named is not None:
            named(wanted.display_name)
        request = registry_pb.CreateFunctionRequest(parent=convert.DEFAULT_WORKSPACE, function=wanted)
        try:
            made: function_pb2.Function = await mesh.registry.CreateFunction(request)
        except AlreadyExists:
            if app_name or attempt == _NAMES_TRIED - 1:
                raise
            continue
        return made
    raise AssertionError("the last attempt returns or raises")


async def change(
    mesh: Caller, found: function_pb2.Function, wanted: function_pb2.Function, paths: Sequence[str]
) -> function_pb2.Function:
    """The function with those fields changed, and its labels added to; what runs is left to the build that follows."""
    wanted.name = found.name
    labels = {**found.labels, **wanted.labels}
    wanted.labels.clear()
    wanted.labels.update(labels)
    changed = [*paths, "labels"]
    if found.path.startswith("tasks/"):  # until now it only was what builds were of
        wanted.path = found.display_name
        changed.append("path")
    request = registry_pb.UpdateFunctionRequest(function=wanted, defer_rollout=True)
    request.update_mask.paths.extend(changed)
    function: function_pb2.Function = await mesh.registry.UpdateFunction(request)
    return function
