"""Being one of Envoy's endpoints: the gateways are told that this process is there, and that it is about to
stop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fnmesh.internal.gateway.v1 import membership_service_pb2 as pb
from fnmesh.internal.gateway.v1 import membership_service_pb2_grpc as pb_grpc
from mesh import addresses, deadline
from mesh.auth import ServiceToken
from mesh.errors import MeshError, Unavailable
from mesh.logs import get_logger
from mesh.loops import Backoff
from mesh.rpc_client import open_channel

log = get_logger(__name__)
LEAVE_S = 5.0
LOOK_AGAIN_S = 2.0
"""How often it is asked which gateways a name stands for."""
_BACKOFF = Backoff(first_s=0.1, limit_s=1.0)


class Stay:
    """The membership at one gateway."""

    def __init__(self, membership: Membership) -> None:
        self.membership = membership
        self.applied = False
        self.left = asyncio.Event()

    def apply(self, applied: bool) -> None:
        """Whether that gateway's Envoys send requests here."""
        self.applied = applied
        self.membership.changed()


class Membership:
    """What became of the membership: `applied` is set while Envoy sends requests here, whichever gateway told it."""

    def __init__(self) -> None:
        self.applied = asyncio.Event()
        self.leaving = asyncio.Event()
        self._stays: dict[str, Stay] = {}

    @property
    def gateways(self) -> int:
        """At how many gateways this process is a member now."""
        return sum(stay.applied for stay in self._stays.values())

    def changed(self) -> None:
        """Something became of a stay."""
        if self.gateways:
            self.applied.set()
        else:
            self.applied.clear()

    async def leave(self, timeout_s: float = LEAVE_S) -> None:
        """Says that this process is about to stop; returns once Envoy sends it nothing new, or time is over."""
        if self.leaving.is_set():
            return
        members = [stay for stay in self._stays.values() if stay.applied]
        self.leaving.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                for stay in members:
                    await stay.left.wait()

    def begun(self, gateway: str) -> Stay:
        """A stay at one more gateway."""
        stay = self._stays[gateway] = Stay(self)
        return stay

    def ended(self, gateway: str) -> None:
        """There is no such gateway any more."""
        self._stays.pop(gateway, None)
        self.changed()


@asynccontextmanager
async def joined(
    gateway_address: str, service: str, own_address: str, *, token: ServiceToken | None
) -> AsyncIterator[Membership]:
    """This process is a member for as long as the context lasts, at every gateway there is; it joins again whenever
    a stream breaks.

    On exit it leaves (see `Membership.leave`). A gateway that is not there delays nothing.
    """
    membership = Membership()
    async with asyncio.TaskGroup() as tasks:
        with deadline.detached():
            stays = tasks.create_task(_stay_everywhere(membership, gateway_address, service, own_address, token))
        try:
            yield membership
        finally:
            await membership.leave()
            stays.cancel()


async def _stay_everywhere(
    membership: Membership, gateways: str, service: str, own_address: str, token: ServiceToken | None
) -> None:
    running: dict[str, asyncio.Task[None]] = {}
    async with asyncio.TaskGroup() as tasks:
        while True:
            found = await addresses.resolved(gateways)
            for gateway in found:
                if gateway not in running:
                    stay = membership.begun(gateway)
                    running[gateway] = tasks.create_task(_stay(stay, gateway, service, own_address, token))
            for gateway in set(running) - set(found) if found else ():  # a name nobody knows now is no news
                running.pop(gateway).cancel()
                membership.ended(gateway)
            await asyncio.sleep(LOOK_AGAIN_S)


async def _stay(stay: Stay, gateway: str, service: str, own_address: str, token: ServiceToken | None) -> None:
    failures = 0
    async with open_channel(gateway, token=token) as channel:
        stub = pb_grpc.MembershipServiceStub(channel)
        while not stay.membership.leaving.is_set():
            failed: MeshError | None = None
            try:
                async with asyncio.TaskGroup() as tasks:
                    await _one_stay(stay, stub.Join(), service, own_address, tasks)
            except* MeshError as errors:
                failed = next(one for one in errors.exceptions if isinstance(one, MeshError))
            if failed is None:
                continue
            failures = 1 if stay.applied else failures + 1
            stay.apply(False)
            log.debug("mesh_join_failed", member=service, reason=str(failed))
            if not stay.membership.leaving.is_set():
                await asyncio.sleep(_BACKOFF.delay_s(failures))
        stay.left.set()  # if by a broken stream: whoever joined again would be sent requests


async def _one_stay(stay: Stay, call: Any, service: str, own_address: str, tasks: asyncio.TaskGroup) -> None:
    """One stream, until this process has left. Raises MeshError (through `tasks`) where the stream breaks
    before.
    """
    answers: asyncio.Queue[pb.JoinResponse] = asyncio.Queue()

    async def read() -> None:
        async for answer in call:
            if answer.applied:
                await answers.put(answer)
        raise Unavailable("STREAM_ENDED", "The gateway has ended the stream.")

    await call.write(pb.JoinRequest(service=service, address=own_address))
    reader = tasks.create_task(read())
    await answers.get()
    stay.apply(True)
    log.info("mesh_joined", member=service, address=own_address)
    await stay.membership.leaving.wait()
    await call.write(pb.JoinRequest(service=service, address=own_address, draining=True))
    await answers.get()
    stay.left.set()
    reader.cancel()
