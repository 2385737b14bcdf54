"""What is done to a mesh of which every service runs twice, and what must not be lost of it: jobs, records of runs."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import signal
from collections.abc import Awaitable, Sequence
from pathlib import Path

import httpx

from fnmesh.client import AsyncMesh
from fnmesh.client.errors import RpcFailed
from fnmesh.invoke.v1 import job_pb2, stats_service_pb2
from fnmesh.invoke.v1.stats_service_pb2_grpc import StatsServiceStub
from tests.chaos.actors import NO_ANSWER
from tests.chaos.ledger import CALLS, CONTROL, Ledger, calls_of
from tests.chaos.world import World
from tests.support.eventually import eventually
from tests.support.replicated_mesh import Replica, ReplicatedMesh

IN_FLIGHT_S = 1.0
"""How long after a process is gone a request may still be sent to it: until Envoy has had its turn to hear of it, which
takes a while on a busy machine. Nothing else excuses anything."""
EXCUSES: dict[str, tuple[str, ...]] = {
    "registry": (CONTROL,),
    "build": (CONTROL,),
    "deploy": (CONTROL,),
    "invoke": (CALLS, CONTROL),  # jobs are control calls
    "gateway": (CONTROL,),  # the calls of the REST facade
}
_ASKED = ("/health", "/api/workspaces")
_EXCUSABLE = (502, 503, 504)
_MANY = 20
_SCRIPTS = 0.1
_SETTLED_WITHIN_S = 60.0
_PAUSE_S = 0.1


async def kill(world: World, mesh: ReplicatedMesh, one: Replica) -> None:
    """SIGKILL to one of two; returns when both are there again."""
    with world.ledger.disturbance(f"kill -9 {one.name} ({one.pid})", EXCUSES[one.service]) as fault:
        await asyncio.to_thread(one.kill)
        fault.ended = world.ledger.now() + IN_FLIGHT_S
        await asyncio.sleep(world.rng.uniform(0, 1))
        await mesh.restart(one)


async def stop_in_order(world: World, mesh: ReplicatedMesh, one: Replica) -> None:
    """SIGTERM to one of two, as in a rolling update: nothing may fail of it. Returns when both are there again."""
    with world.ledger.disturbance(f"stop {one.name} ({one.pid}) in order"):
        one.signal(signal.SIGTERM)
        assert await asyncio.to_thread(one.wait) == 0, one.log.read_text()[-2000:]
        await mesh.restart(one)


def leader(mesh: ReplicatedMesh) -> Replica:
    """The deploy_svc that leads, or did so last."""
    return max(mesh.of("deploy"), key=lambda one: one.newest_event("leads"))


class JobAuthor:
    """Makes jobs, and knows what should have come of each that was acknowledged."""

    def __init__(self, client: AsyncMesh, ledger: Ledger, function: str) -> None:
        self._client, self._ledger, self._function = client, ledger, function
        self.accepted: dict[str, str] = {}
        """The nonce of each job by name; none of a script."""

    async def run_function(self, takes_s: float) -> None:
        """A job that invokes the function."""
        nonce = secrets.token_hex(6)
        event = {"n": nonce, "s": takes_s}
        await self._make(nonce, self._client.jobs.run(self._function, event, max_attempts=_MANY, request_id=nonce))

    async def run_script(self, directory: Path) -> None:
        """A job that is a script; the deploy_svc that leads runs it."""
        path = directory / "script.py"
        path.write_text("print('done')\n")
        made = self._client.jobs.run_script(path, max_attempts=_MANY, target="process", request_id=secrets.token_hex(6))
        await self._make("", made)

    async def _make(self, nonce: str, making: Awaitable[job_pb2.Job]) -> None:
        began = self._ledger.now()
        try:
            job = await making
        except RpcFailed as error:
            told, excusable = f"{error.code.name} {error}", isinstance(error, NO_ANSWER)
            self._ledger.failed(CONTROL, "make a job", told, began, excusable=excusable)
        else:
            self.accepted[job.name] = nonce
            self._ledger.answered[CONTROL] += 1

    async def all_done(self) -> None:
        """Returns once every job that was accepted is done, with its own result. AssertionError otherwise."""
        for name, nonce in self.accepted.items():
            job = await eventually(lambda name=name: self._ended(name), _SETTLED_WITHIN_S, interval_s=0.1)
            state = job_pb2.JobState.Name(job.state)
            assert state == "JOB_STATE_SUCCESS", f"{name} was accepted and ended {state}: {job.error}"
            if nonce:
                assert json.loads(job.result)["n"] == nonce, f"{name} has the result of another one: {job.result!r}"

    async def _ended(self, name: str) -> job_pb2.Job | None:
        job = await self._client.jobs.get(name)
        return job if job.state > job_pb2.JOB_STATE_RUNNING else None


async def keep_making_jobs(author: JobAuthor, rng: random.Random, stop: asyncio.Event, directory: Path) -> None:
    """Jobs until told to stop; some take a while, and some are scripts, written into a directory."""
    while not stop.is_set():
        if rng.random() < _SCRIPTS:
            await author.run_script(directory)
        else:
            await author.run_function(rng.choice((0, 0, 0.3)))
        await asyncio.sleep(_PAUSE_S)


async def keep_asking(http: httpx.AsyncClient, ledger: Ledger, stop: asyncio.Event) -> None:
    """Calls of the REST facade, until told to stop: each gateway gets its turn."""
    while not stop.is_set():
        for path in _ASKED:
            began = ledger.now()
            try:
                answer = await http.get(path)
            except httpx.HTTPError as error:
                ledger.failed(CONTROL, f"GET {path}", f"{type(error).__name__} {error}", began)
                continue
            if answer.status_code == 200:
                ledger.answered[CONTROL] += 1
            else:
                how = f"{answer.status_code} {answer.text[:200]}"
                ledger.failed(CONTROL, f"GET {path}", how, began, excusable=answer.status_code in _EXCUSABLE)
        await asyncio.sleep(_PAUSE_S)


async def all_recorded(client: AsyncMesh, ledger: Ledger, functions: Sequence[str]) -> None:
    """Returns once there is a record of each request that was answered. AssertionError if there is not."""
    stub = StatsServiceStub(client._connection.channel)

    async def recorded() -> bool:
        request = stats_service_pb2.ListFunctionTotalsRequest(parent="workspaces/-/functions/-")
        totals = await client._connection.call(stub.ListFunctionTotals, request)
        runs = {one.function: one.invocations for one in totals.totals}
        for name in functions:
            told, found = ledger.answered[calls_of(name)], runs.get((await client.show(name)).name, 0)
            assert found >= told, f"{name} has answered {told} requests, and there are records of {found}"
        return True

    await eventually(recorded, _SETTLED_WITHIN_S, interval_s=0.2)
