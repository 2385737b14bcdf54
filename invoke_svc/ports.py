"""What invoke_svc needs of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from invoke_svc.domain import Run


class ExecutionStore(Protocol):
    """Keeps execution records."""

    async def append(self, runs: Sequence[Run], *, again: bool = False) -> None:
        """Stores and counts records. `again`: some may be there already, which stay as they are."""
        ...

    async def get(self, function_uid: str, uid: str) -> Run | None:
        """One record."""
        ...

    async def newest(self, function_uid: str, limit: int, before: str | None, *, bodies: bool = False) -> list[Run]:
        """At most `limit` records of a function, newest first, all of them older than the one called `before`;
        without the beginnings of bodies unless asked for.
        """
        ...

    async def prune(self, function_uids: Sequence[str], kept: int, oldest: float) -> int:
        """Drops all but the `kept` newest records of these functions, and any that began before `oldest`
        (seconds since the epoch); returns how many, at most some thousands in one call."""
        ...
