"""What is done to a mesh: processes killed, or stopped for a while. Each fault is over when its victim is back."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager

import httpx

from fnmesh.client import AsyncMesh, FnmeshError
from fnmesh.deploy.v1 import deployment_pb2
from tests.chaos.ledger import CALLS, CONTROL, Ledger, calls_of
from tests.support import processes
from tests.support.eventually import eventually
from tests.support.running_mesh import RunningMesh

BACK_WITHIN_S = 40.0
EVERYTHING = (CALLS, CONTROL)
EXCUSES: dict[str, tuple[str, ...]] = {
    "registry": (CONTROL,),
    "build": (CONTROL,),
    "deploy": (CONTROL,),
    "invoke": (CALLS,),
    "gateway": (),
    "envoy": EVERYTHING,
}
"""What may fail while a service is dead. A service that is only stopped for a moment fails nothing."""

AFTERMATH_S = 0.5
"""How long after a victim is back a client may still find out about a connection that went with it."""
_IN_FLIGHT_S = 0.5


class Faults:
    """Does things to one mesh and writes them down. `steady` is a function that is always there."""

    def __init__(
        self, mesh: RunningMesh, ledger: Ledger, client: AsyncMesh, http: httpx.AsyncClient, steady: str
    ) -> None:
        self._mesh = mesh
        self._ledger = ledger
        self._client = client
        self._http = http
        self._steady = steady

    async def kill_service(self, name: str) -> None:
        """SIGKILL to a service or to Envoy; returns when it serves again."""
        pid = await self.pid(name)
        with self._ledger.disturbance(f"kill -9 {name} ({pid})", EXCUSES[name]) as one:
            os.kill(pid, signal.SIGKILL)
            await self.back(name, pid)
            one.ended = self._ledger.now() + AFTERMATH_S

    async def freeze_service(self, name: str, for_s: float, excuses: Collection[str] = ()) -> None:
        """SIGSTOP to a service or to Envoy, SIGCONT after a while."""
        pid = await self.pid(name)
        with self._ledger.disturbance(f"stop {name} ({pid}) for {for_s:g} s", excuses), frozen(pid):
            await asyncio.sleep(for_s)

    async def kill_workload(self, function: str) -> None:
        """SIGKILL to an instance; only the requests that it had may fail. Returns when another one is there."""
        pid = await self._workload(function)
        with self._ledger.disturbance(f"kill -9 instance of {function} ({pid})", (calls_of(function),)) as one:
            os.kill(pid, signal.SIGKILL)
            one.ended = self._ledger.now() + _IN_FLIGHT_S
            await eventually(lambda: self._replaced(function, pid), BACK_WITHIN_S, interval_s=0.1)

    async def freeze_workload(self, function: str, for_s: float) -> None:
        """SIGSTOP to an instance, SIGCONT after a while: its requests wait, none fails."""
        pid = await self._workload(function)
        with self._ledger.disturbance(f"stop instance of {function} ({pid}) for {for_s:g} s"), frozen(pid):
            await asyncio.sleep(for_s)

    async def kill_up(self) -> None:
        """SIGKILL to `fnmesh up`, and a new one on the same data."""
        with self._ledger.disturbance(f"kill -9 fnmesh up ({self._mesh.pid})", EVERYTHING) as one:
            before = self._mesh.processes_of("-m")
            await asyncio.to_thread(self._mesh.kill)
            await eventually(lambda: not any(map(processes.is_running, before)), 10)
            await asyncio.to_thread(self._mesh.start)
            await self.back("invoke", 0)
            await self.back("registry", 0)
            one.ended = self._ledger.now() + AFTERMATH_S

    async def freeze_up(self, for_s: float) -> None:
        """SIGSTOP to `fnmesh up`, SIGCONT after a while."""
        pid = self._mesh.pid
        with self._ledger.disturbance(f"stop fnmesh up ({pid}) for {for_s:g} s"), frozen(pid):
            await asyncio.sleep(for_s)

    async def back(self, name: str, old_pid: int) -> None:
        """Returns when another process than that serves in its place. Raises AssertionError if none comes."""
        await eventually(lambda: self._pids(name) not in ([], [old_pid]), BACK_WITHIN_S, interval_s=0.05)
        await self.answers(name)

    async def answers(self, name: str) -> None:
        """Returns when a service or Envoy does what it is there for. Raises AssertionError if it does not."""
        probes: dict[str, Callable[[], Awaitable[object]]] = {
            "registry": self._client.keys,
            "build": lambda: self._client.builds(self._steady),
            "deploy": lambda: self._client.deployment(self._steady),
            "invoke": lambda: self._good(f"/api/{self._steady}"),
        }
        if name == "envoy":  # the client's own channel takes a while to try again
            await self._until(self._client.keys)
        await self._until(probes.get(name, lambda: self._good("/health")))

    @staticmethod
    async def _until(probe: Callable[[], Awaitable[object]]) -> None:
        """Returns when the probe raises nothing."""

        async def answers() -> bool:
            try:
                await probe()
            except (FnmeshError, httpx.HTTPError):
                return False
            return True

        await eventually(answers, BACK_WITHIN_S, interval_s=0.05)

    async def _good(self, path: str) -> None:
        (await self._http.get(path)).raise_for_status()

    async def pid(self, name: str) -> int:
        """The process of a service or of Envoy, once there is one."""
        return (await eventually(lambda: self._pids(name), BACK_WITHIN_S))[0]

    def _pids(self, name: str) -> list[int]:
        wanted = {"envoy": "--config-path", "gateway": "gateway"}.get(name, f"{name}_svc")
        return self._mesh.processes_of(wanted)

    async def _workload(self, function: str) -> int:
        return (await eventually(lambda: self._ready_pids(function), BACK_WITHIN_S, interval_s=0.1))[0]

    async def _replaced(self, function: str, pid: int) -> bool:
        return any(one != pid for one in await self._ready_pids(function))

    async def _ready_pids(self, function: str) -> list[int]:
        try:
            deployment = await self._client.deployment(function)
        except FnmeshError:
            return []
        ready = [one for one in deployment.instances if one.state == deployment_pb2.INSTANCE_STATE_READY]
        return [int(one.handle.partition("@")[0]) for one in ready]


@contextmanager
def frozen(*pids: int) -> Iterator[None]:
    """The processes stopped meanwhile; they go on however the context is left."""
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            processes.resume(pid)
