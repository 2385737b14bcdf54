"""From the start of an instance to its first 200, against the same server started bare, in turns.

In the mesh the clock runs from the moment that deploy_svc notes as the instance's start to a client's first 200
through the lane; the artifact is there, as it is at every start but the first one. Bare is the very same command
line (process: as a child of this program, with its own socket; Docker: `docker run` of the same image by way of the
daemon's API, with a published port) to a 200 at the server itself.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import docker
import grpc

from benchmarks.children import ending
from benchmarks.mesh_process import RunningMesh, running_mesh
from benchmarks.probe import first_200
from benchmarks.report import Row, at_most
from benchmarks.turns import Plan, in_turns, median, ratios, spread
from fnmesh.registry.v1 import registry_service_pb2 as pb
from fnmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub

LIMITS = {"process": 1.5, "docker": 1.3}
_SOURCE = 'def handler(event):\n    return {"statusCode": 200, "body": "hello"}\n'
_ALIVE = ("INSTANCE_STATE_STARTING", "INSTANCE_STATE_READY", "INSTANCE_STATE_DRAINING")


def measure(plan: Plan) -> list[Row]:
    """Both targets."""
    rows: list[Row] = []
    with running_mesh() as mesh, grpc.insecure_channel(mesh.address) as channel:
        registry = RegistryServiceStub(channel)
        for target, limit in LIMITS.items():
            missing = mesh.lacks_target(target)
            if missing:
                rows.append(Row(f"start of an instance, {target}", f"not measured: {missing}"))
                continue
            rows += _compare(_Function(mesh, registry, target), limit, plan)
    return rows


def _compare(function: _Function, limit: float, plan: Plan) -> list[Row]:
    ways = {"mesh": function.start_s, "bare": function.bare_s}
    in_turns(ways, 1)  # everything is in the page cache from here on
    took = in_turns(ways, plan.rounds)
    share = ratios(took["mesh"], took["bare"])
    texts = {name: f"{spread([1000 * one for one in found], '{:.0f}')} ms" for name, found in took.items()}
    return [
        Row(f"start of an instance to the first 200, {function.target}", texts["mesh"]),
        Row(f"the same server started bare, {function.target}", texts["bare"]),
        at_most(f"mesh ÷ bare, {function.target}", median(share), limit, spread(share)),
    ]


class _Function:
    """One function, started again and again."""

    def __init__(self, mesh: RunningMesh, registry: Any, target: str) -> None:
        self.target = target
        self._mesh = mesh
        self._registry = registry
        self._name = f"start-{target}"
        with tempfile.TemporaryDirectory() as scratch:
            (Path(scratch) / "handler.py").write_text(_SOURCE)
            mesh.fnmesh("deploy", scratch, "--name", self._name, "--target", target)
        self._resource = f"workspaces/default/functions/{self._name}"
        instance = mesh.ready_instance(self._name)
        self._bare = _BareProcess(mesh, instance) if target == "process" else _BareContainer(instance)

    def start_s(self) -> float:
        """Stops it, starts it, and asks at once: the answer comes when an instance is there to make it."""
        self._registry.StopFunction(pb.StopFunctionRequest(name=self._resource))
        self._until_stopped()
        self._registry.DeployFunction(pb.DeployFunctionRequest(name=self._resource))
        answered = first_200(self._mesh.address, f"/api/{self._name}")
        instance = self._mesh.ready_instance(self._name)
        return answered - datetime.fromisoformat(instance["startTime"]).timestamp()

    def bare_s(self) -> float:
        """Starts the same server bare."""
        return self._bare.start_s()

    def _until_stopped(self) -> None:
        deadline = time.monotonic() + 30
        while any(i["state"] in _ALIVE for i in self._mesh.fnmesh("show", self._name)["deployment"]["instances"]):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self._name} was not stopped.")


class _BareProcess:
    """The command line of an instance, with a socket of our own."""

    def __init__(self, mesh: RunningMesh, instance: dict[str, str]) -> None:
        words = Path(f"/proc/{instance['handle'].partition(':')[0]}/cmdline").read_text().split("\0")[:-1]
        self._listen = f"unix:{mesh.place.root}/bare"
        at = words.index("--listen") + 1
        self._command = [*words[:at], self._listen, *words[at + 1 :]]

    def start_s(self) -> float:
        began = time.time()
        environment = {"LANG": "C.UTF-8", "PATH": os.defpath}
        with ending(subprocess.Popen(self._command, stdin=subprocess.DEVNULL, env=environment)):
            return first_200(self._listen, "/api/bare") - began


class _BareContainer:
    """The image and command of an instance's container."""

    def __init__(self, instance: dict[str, str]) -> None:
        self._docker = docker.from_env().api
        found = self._docker.inspect_container(instance["handle"])["Config"]
        self._image, self._command = found["Image"], found["Cmd"]
        (self._port,) = found["ExposedPorts"]

    def start_s(self) -> float:
        began = time.time()
        published = self._docker.create_host_config(port_bindings={self._port: ("127.0.0.1", None)})
        number = int(self._port.partition("/")[0])
        made = self._docker.create_container(self._image, self._command, ports=[number], host_config=published)
        try:
            self._docker.start(made)
            (bound,) = self._docker.port(made, number)
            return first_200(f"127.0.0.1:{bound['HostPort']}", "/api/bare") - began
        finally:
            self._docker.remove_container(made, force=True, v=True)
