"""Being one of Envoy's endpoints: the gateway is told that this process is there, and that it is about to
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
from mesh import deadline
from mesh.auth import ServiceToken
from mesh.errors import MeshError, Unavailable
from mesh.logs import get_logger
from mesh.loops import Backoff
from mesh.rpc_client import open_channel

log = get_logger(__name__)
LEAVE_S = 5.0
_BACKOFF = Backoff(first_s=0.1, limit_s=2.0)


class Membership:
    """What became of the membership: `applied` is set while Envoy sends requests here."""

    def __init__(self) -> None:
        self.applied = asyncio.Event()
        self._leaving = asyncio.Event()
        self._left = asyncio.Event()

    async def leave(self, timeout_s: float = LEAVE_S) -> None:
        """Says that this process is about to stop; returns once Envoy sends it nothing new, or time is over."""
        if self._leaving.is_set():
            return
        was_member = self.applied.is_set()
        self._leaving.set()
        if was_member:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._left.wait()


@asynccontextmanager
async def joined(
    gateway_address: str, service: str, own_address: str, *, token: ServiceToken | None
) -> AsyncIterator[Membership]:
    """This process is a member for as long as the context lasts; it joins again whenever the stream breaks.

    On exit it leaves (see `Membership.leave`). A gateway that is not there delays nothing.
    """
    membership = Membership()
    async with asyncio.TaskGroup() as tasks:
        with deadline.detached():
            stay = tasks.create_task(_stay(membership, gateway_address, service, own_address, token))
        try:
            yield membership
        finally:
            await membership.leave()
            stay.cancel()


async def _stay(
    membership: Membership, gateway: str, service: str, own_address: str, token: ServiceToken | None
) -> None:
    failures = 0
    async with open_channel(gateway, token=token) as channel:
        stub = pb_grpc.MembershipServiceStub(channel)
        while not membership._left.is_set():
            try:
                async with asyncio.TaskGroup() as tasks:
                    await _one_stay(membership, stub.Join(), service, own_address, tasks)
            except* MeshError as errors:
                failures = 1 if membership.applied.is_set() else failures + 1
                membership.applied.clear()
                log.debug("mesh_join_failed", member=service, reason=str(errors.exceptions[0]))
            if not membership._left.is_set():
                await asyncio.sleep(_BACKOFF.delay_s(failures))


async def _one_stay(
    membership: Membership, call: Any, service: str, own_address: str, tasks: asyncio.TaskGroup
) -> None:
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
    membership.applied.set()
    log.info("mesh_joined", member=service, address=own_address)
    await membership._leaving.wait()
    await call.write(pb.JoinRequest(service=service, address=own_address, draining=True))
    await answers.get()
    membership._left.set()
    reader.cancel()
