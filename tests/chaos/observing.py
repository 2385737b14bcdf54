"""What is really there: asked of the API, and looked up on the machine."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Protocol

import docker
import httpx

from fnmesh.build.v1 import build_pb2
from fnmesh.client import AsyncMesh
from fnmesh.deploy.v1 import deployment_pb2
from fnmesh.registry.v1 import function_pb2, revision_pb2
from tests.chaos.checker import Answer, Observation, SeenFunction
from tests.support import processes
from tests.support.running_mesh import SERVICES

_SOCKETS = {f"{name}.sock" for name in SERVICES} | {"gateway-rest.sock", "envoy-admin.sock"}
_NUMBER = re.compile(r"-\d(?=\.sock$)")
_ENDED = ("STOPPED", "FAILED")


class Mesh(Protocol):
    """A mesh that can be looked at from behind."""

    data_dir: Path
    programs: Mapping[str, int]

    @property
    def run_dir(self) -> Path:
        """Where its sockets are."""
        ...

    def processes(self) -> list[int]:
        """All its processes."""
        ...


async def observe(mesh: Mesh, client: AsyncMesh, http: httpx.AsyncClient, docker_url: str = "") -> Observation:
    """All that the checker compares. Raises what the API raises."""
    seen = Observation()
    for function in await client.list(workspace="-"):
        seen.functions[function.display_name] = await _function(client, http, function)
    seen.keys = {key.name.rpartition("/")[2]: key.HasField("revoke_time") for key in await client.keys()}
    _look_at_processes(mesh, seen)
    _look_at_files(mesh, seen)
    if docker_url:
        _look_at_docker(mesh, docker_url, seen)
    return seen


async def _function(client: AsyncMesh, http: httpx.AsyncClient, function: function_pb2.Function) -> SeenFunction:
    deployment = await client.deployment(function.name)
    state_of = deployment_pb2.InstanceState.Name
    instances = {one.uid: state_of(one.state).removeprefix("INSTANCE_STATE_") for one in deployment.instances}
    serving = function.serving_revision.rpartition("/")[2]
    return SeenFunction(
        uid=function.uid,
        builds={
            build.name: build_pb2.BuildState.Name(build.state).removeprefix("BUILD_STATE_")
            for build in await client.builds(function.name)
        },
        revisions={
            one.number: revision_pb2.RevisionState.Name(one.state).removeprefix("REVISION_STATE_")
            for one in await client.revisions(function.name)
        },
        serving=int(serving) if serving else 0,
        deployment=function_pb2.DeploymentState.Name(function.deployment_state).removeprefix("DEPLOYMENT_STATE_"),
        instances={uid: state for uid, state in instances.items() if state not in _ENDED},
        answer=await _answer(http, function.path) if serving else None,
    )


async def _answer(http: httpx.AsyncClient, path: str) -> Answer:
    try:
        got = await http.get(f"/api/{path}")
    except httpx.HTTPError:
        return Answer(0)
    if got.status_code != 200:
        return Answer(got.status_code)
    body = got.json()
    return Answer(200, body["edition"], body["greeting"])


def _look_at_processes(mesh: Mesh, seen: Observation) -> None:
    run_dir = f"{mesh.run_dir}/i/"
    found: dict[str, list[int]] = {}
    for pid in mesh.processes():
        words = processes.command_line(pid)
        instance = next((word.partition(run_dir)[2] for word in words if run_dir in word), "")
        if instance:
            seen.workloads.append(instance.partition("/")[0])
            continue
        found.setdefault(_program(words), []).append(pid)
    for name, pids in sorted(found.items()):
        if name not in mesh.programs:
            seen.strangers.append(f"process {pids} is left: {name[:200]}")
        elif len(pids) != mesh.programs[name]:
            seen.strangers.append(f"{name} runs {len(pids)} times: {pids}")
    seen.strangers += [f"{name} does not run" for name in sorted(mesh.programs.keys() - set(found))]


def _program(words: list[str]) -> str:
    """`registry`, `envoy`, `up`; the whole command line of anything else."""
    if "cli" in words and "up" in words:
        return "up"
    if "--config-path" in words or "gateway.envoy" in words:
        return "envoy"
    if len(words) > 1 and words[-2:-1] == ["-m"]:
        return words[-1].removesuffix("_svc")
    return " ".join(words)


def _look_at_files(mesh: Mesh, seen: Observation) -> None:
    seen.records |= {path.name for path in _children(mesh.run_dir / "i")}
    seen.records |= {path.stem for path in _children(mesh.data_dir / "instances")}
    seen.records |= {path.stem for path in _children(mesh.data_dir / "logs") if path.name.startswith("in-")}
    for path in _children(mesh.run_dir / "m"):
        if path.suffix == ".sock" and _NUMBER.sub("", path.name) not in _SOCKETS:
            seen.strangers.append(f"socket {path.name} is left")
    for path in _children(mesh.data_dir / "build" / "scratch"):
        seen.strangers.append(f"scratch directory {path.name} of a build is left")


def _children(directory: Path) -> Iterator[Path]:
    return directory.iterdir() if directory.is_dir() else iter(())


def _look_at_docker(mesh: Mesh, url: str, seen: Observation) -> None:
    label = f"fnmesh.mesh={(mesh.data_dir / 'mesh_id').read_text().strip()}"
    api = docker.APIClient(base_url=url, version="auto", timeout=20)
    try:
        for container in api.containers(all=True, filters={"label": label}):
            instance = container["Labels"].get("fnmesh.instance")
            if instance is None:
                seen.strangers.append(f"container {container['Names']} is left")
            else:
                seen.workloads.append(instance)
        known = _known_images(mesh)
        for image in api.images(filters={"label": label}):
            if image["Id"] not in known:
                seen.strangers.append(f"image {image['Id']} {image['RepoTags']} is left")
        for volume in (api.volumes(filters={"dangling": True}) or {}).get("Volumes") or ():
            seen.strangers.append(f"volume {volume['Name']} is left")
    finally:
        api.close()


def _known_images(mesh: Mesh) -> set[str]:
    """Images that a row of build_svc refers to; what is in its trash goes with the next sweep, so it does not count."""
    with closing(sqlite3.connect(f"file:{mesh.data_dir}/db/build.db?mode=ro", uri=True)) as database:
        rows = database.execute(
            "SELECT reference FROM artifacts WHERE kind = 'IMAGE' UNION SELECT reference FROM image_caches"
        )
        return {row[0] for row in rows}
