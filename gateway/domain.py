"""Who is a member of the mesh: pure bookkeeping, no I/O."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

SERVICES = ("registry", "build", "deploy", "invoke")


@dataclass(frozen=True)
class Member:
    """One process of a service. `address` is `unix:/path` or `ip:port`; `join_id` tells two joins apart."""

    service: str
    address: str
    join_id: int


class Members:
    """The processes that are there now. The same address may join again before its older stream is known dead."""

    def __init__(self) -> None:
        self._joined: dict[int, Member] = {}
        self._ids = itertools.count(1)

    def join(self, service: str, address: str) -> Member:
        """A process has come. Raises ValueError for a service that the mesh does not have."""
        if service not in SERVICES:
            raise ValueError(f"there is no service '{service}'")
        member = Member(service, address, next(self._ids))
        self._joined[member.join_id] = member
        return member

    def leave(self, member: Member) -> None:
        """It has gone, or takes nothing new. Leaving twice is harmless."""
        self._joined.pop(member.join_id, None)

    def addresses(self, service: str) -> frozenset[str]:
        """Where the members of a service are."""
        return frozenset(one.address for one in self._joined.values() if one.service == service)

    def places(self) -> frozenset[tuple[str, str]]:
        """Service and address of each."""
        return frozenset((one.service, one.address) for one in self._joined.values())

    def missing(self) -> tuple[str, ...]:
        """Services that have no member."""
        present = {one.service for one in self._joined.values()}
        return tuple(service for service in SERVICES if service not in present)
