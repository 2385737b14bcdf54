"""The gateways of a mesh asking one another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc.aio

from mesh import addresses
from mesh.auth import ServiceToken
from mesh.errors import MeshError
from mesh.logs import get_logger
from mesh.rpc_client import open_channel

log = get_logger(__name__)
T = TypeVar("T")
_PATIENCE_S = 5.0


class Peers:
    """All gateways. `gateways` is where they are reached (`mesh.addresses`), this one among them; where it is the only
    one, nobody is asked.
    """

    def __init__(self, gateways: str, token: ServiceToken) -> None:
        self._gateways, self._token = gateways, token

    @property
    def exist(self) -> bool:
        """Whether there may be others."""
        return addresses.is_several(self._gateways)

    async def ask(self, question: Callable[[grpc.aio.Channel], Awaitable[T]]) -> list[T]:
        """What each of them answers. One that does not answer in time is done without."""
        if not self.exist:
            return []
        asked = [self._ask(address, question) for address in await addresses.resolved(self._gateways)]
        return [answer for answers in await asyncio.gather(*asked) for answer in answers]

    async def _ask(self, address: str, question: Callable[[grpc.aio.Channel], Awaitable[T]]) -> list[T]:
        try:
            async with open_channel(address, token=self._token, default_deadline_s=_PATIENCE_S) as channel:
                return [await question(channel)]
        except MeshError as error:
            log.info("gateway_not_asked", gateway=address, reason=error.reason)
            return []
