"""Members, as Envoy's endpoints: who joins is sent requests, who leaves is not."""

from __future__ import annotations

import asyncio
import ipaddress

from gateway.domain import SERVICES, Member, Members
from gateway.envoy.book import Book
from gateway.envoy.resources import Resource, endpoints
from mesh.errors import InvalidArgument
from mesh.logs import get_logger

log = get_logger(__name__)


class Roster:
    """Keeps the book's endpoints in step with the members, and lets the book go when the mesh is complete."""

    def __init__(self, members: Members, book: Book) -> None:
        self._members = members
        self._book = book
        self._complete = asyncio.Event()
        for service in SERVICES:
            self._publish(service)

    def missing(self) -> tuple[str, ...]:
        """Services that nobody serves now."""
        return self._members.missing()

    async def join(self, service: str, address: str) -> tuple[Member, Resource]:
        """A process has come. Raises InvalidArgument where the service or the address makes no sense."""
        try:
            member = self._members.join(service, await _numeric(address))
        except ValueError as error:
            raise InvalidArgument("MEMBER_INVALID", f"{error}.") from None
        if not self._members.missing():
            self._complete.set()
        return member, self._publish(service)

    def leave(self, member: Member) -> Resource:
        """A process has gone, or is about to."""
        self._members.leave(member)
        return self._publish(member.service)

    async def applied(self, resource: Resource) -> None:
        """Returns once Envoy does what the resource says."""
        await self._book.applied(resource)

    async def complete(self, hold_s: float) -> bool:
        """Returns once every service has had a member, or after `hold_s`; whether they had."""
        try:
            async with asyncio.timeout(hold_s):
                await self._complete.wait()
        except TimeoutError:
            return False
        return True

    async def release_when_complete(self, hold_s: float) -> None:
        """Releases the book when every service has a member, or after `hold_s`."""
        if not await self.complete(hold_s):
            log.warning("mesh_incomplete", missing=self.missing(), waited_s=hold_s)
        self._book.release()

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
