"""Members, as Envoy's endpoints: who joins is sent requests, who leaves is not."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress

import grpc.aio

from fnmesh.internal.gateway.v1 import membership_service_pb2 as pb
from fnmesh.internal.gateway.v1 import membership_service_pb2_grpc as pb_grpc
from gateway.domain import SERVICES, Member, Members
from gateway.envoy.book import Book
from gateway.envoy.resources import Resource, endpoints
from gateway.peers import Peers
from mesh.errors import InvalidArgument
from mesh.logs import get_logger

log = get_logger(__name__)
_LOOK_AGAIN_S = 0.25


class Roster:
    """Keeps the book's endpoints in step with the members, and lets the book go when the mesh is complete."""

    def __init__(self, members: Members, book: Book, peers: Peers) -> None:
        self._members = members
        self._book = book
        self._peers = peers
        self._joined = asyncio.Event()
        for service in SERVICES:
            self._publish(service)

    def missing(self) -> tuple[str, ...]:
        """Services that nobody serves now."""
        return self._members.missing()

    def places(self) -> frozenset[tuple[str, str]]:
        """Service and address of each member there is now."""
        return self._members.places()

    async def join(self, service: str, address: str) -> tuple[Member, Resource]:
        """A process has come. Raises InvalidArgument where the service or the address makes no sense."""
        try:
            member = self._members.join(service, await _numeric(address))
        except ValueError as error:
            raise InvalidArgument("MEMBER_INVALID", f"{error}.") from None
        self._joined.set()
        return member, self._publish(service)

    def leave(self, member: Member) -> Resource:
        """A process has gone, or is about to."""
        self._members.leave(member)
        return self._publish(member.service)

    async def applied(self, resource: Resource) -> None:
        """Returns once Envoy does what the resource says."""
        await self._book.applied(resource)

    async def release_when_complete(self, hold_s: float) -> None:
        """Releases the book when all have joined who will, or after `hold_s`."""
        try:
            async with asyncio.timeout(hold_s):
                while not await self._complete():
                    self._joined.clear()
                    with contextlib.suppress(TimeoutError):  # whom it lacks may have gone
                        await asyncio.wait_for(self._joined.wait(), _LOOK_AGAIN_S)
        except TimeoutError:
            log.warning("mesh_incomplete", missing=self.missing(), waited_s=hold_s)
        self._book.release()

    async def _complete(self) -> bool:
        """Whether each service has a member, and all that other gateways know have joined this one, too.

        Who knows one process of a service, of which there are two, would say that nobody is there when that one stops.
        """
        return not self.missing() and await self._elsewhere() <= self.places() and not self.missing()

    async def _elsewhere(self) -> frozenset[tuple[str, str]]:
        """The members that the gateways know, this one and the others."""

        async def known(channel: grpc.aio.Channel) -> frozenset[tuple[str, str]]:
            answer = await pb_grpc.MembershipServiceStub(channel).ListMembers(pb.ListMembersRequest())
            return frozenset((one.service, one.address) for one in answer.members)

        return frozenset[tuple[str, str]]().union(*await self._peers.ask(known))

    def _publish(self, service: str) -> Resource:
        resource = endpoints(service, self._members.addresses(service))
        self._book.put(resource)
        return resource


async def _numeric(address: str) -> str:
    """The address with its host as an IP address, as endpoints must be. Raises ValueError."""
    if address.startswith("unix:/"):
        return address
    host, separator, port = address.rpartition(":")
    host = host.strip("[]")
    if not separator or not host or not port.isdecimal():
        raise ValueError(f"'{address}' is not unix:/path or host:port")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, int(port), proto=6)
        except OSError as error:
            raise ValueError(f"the host of '{address}' cannot be resolved: {error}") from None
        host = str(found[0][4][0])
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
