"""A function that misbehaves on request, as its callers and its owner see it: tests/badinput/functions."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from fnmesh.client import FnmeshError, Mesh
from fnmesh.deploy.v1 import deployment_pb2
from fnmesh.invoke.v1 import invoke_pb2
from tests.support.eventually import eventually_sync
from tests.support.plain_http import PLAIN
from tests.support.running_mesh import RunningMesh

FUNCTIONS = Path(__file__).parents[1] / "badinput/functions"
CRASHING = {
    "FNMESH_DEPLOY_BACKOFF_CAP_S": "0.2",
    "FNMESH_DEPLOY_HEALTH_INTERVAL_S": "1",
    "FNMESH_DEPLOY_HEALTH_SILENT_S": "2",
    "FNMESH_DEPLOY_STOP_GRACE_S": "0.5",
    "FNMESH_INVOKE_GRACE_S": "3",
}
"""Settings of a mesh for functions that crash again and again: what is broken is found and replaced sooner.

A worker has time to say itself that a time limit has passed, before it counts as silent.
"""


@dataclass(frozen=True)
class BadFunction:
    """A deployed one; `ask("exit")` has it do what is behind that word in its source."""

    name: str
    mesh: RunningMesh

    def ask(self, what: str = "", **how: object) -> httpx.Response:
        """Its answer to one request, whatever it is."""
        parameters = {"do": what} if what else {}
        url = f"{self.mesh.url}/api/{self.name}"
        parameters |= {name: str(value) for name, value in how.items()}
        return httpx.get(url, params=parameters, timeout=60, trust_env=False, verify=PLAIN)

    def pid(self) -> int:
        """The process that answers; the request has to be answered."""
        answer = self.ask()
        assert answer.status_code == 200, answer.text
        return int(answer.json()["pid"])

    def answers_again(self, *, other_than: int = 0, deadline_s: float = 30) -> int:
        """Waits for a good answer, of another process where one is named; returns its pid."""

        def found() -> int:
            try:
                pid = self.pid()
            except httpx.HTTPError as error:
                raise AssertionError(f"no answer: {error!r}") from None
            assert pid != other_than, f"it is still process {pid} that answers"
            return pid

        return eventually_sync(found, deadline_s)

    def messages(self, client: Mesh) -> list[str]:
        """What `fnmesh show` says of its ended instances and of those that are about to be."""
        return [instance.message for instance in client.deployment(self.name).instances]

    def ended_with(self, client: Mesh, message: str, deadline_s: float = 30) -> None:
        """Waits until one of its instances is said to have ended so, and its log says it too."""
        eventually_sync(lambda: any(message in said for said in self.messages(client)), deadline_s, interval_s=0.1)
        eventually_sync(lambda: any(message in line.text for line in self.lines(client)), deadline_s, interval_s=0.1)

    def lines(self, client: Mesh, *, trace_id: str = "", tail: int = 1000) -> list[deployment_pb2.LogEntry]:
        """What `fnmesh logs` shows."""
        with suppress(FnmeshError):
            return list(client.logs(self.name, trace_id=trace_id, tail=tail))
        return []

    def run(self, client: Mesh, trace_id: str) -> invoke_pb2.Execution:
        """The record of a request in `fnmesh executions`."""

        def found() -> list[invoke_pb2.Execution]:
            return [one for one in client.executions(self.name) if one.trace_id == trace_id]

        return eventually_sync(found, 10, interval_s=0.1)[0]

    def instance(self, client: Mesh) -> deployment_pb2.Instance:
        """The instance that serves."""
        ready = deployment_pb2.INSTANCE_STATE_READY
        return next(one for one in client.deployment(self.name).instances if one.state == ready)


def deploy(mesh: RunningMesh, source: str, name: str, **settings: Any) -> BadFunction:
    """Deploys one of tests/badinput/functions."""
    with Mesh(mesh.server) as client:
        client.deploy(FUNCTIONS / source, name=name, **settings).wait()
    return BadFunction(name, mesh)
