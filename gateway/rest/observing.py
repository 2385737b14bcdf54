"""Where log lines and metrics are read: the mesh itself, or what an operator has beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeVar

from gateway.rest.line_query import LineQuery
from gateway.rest.observability_models import Line, Metrics
from mesh.errors import Unavailable
from mesh.logs import get_logger

log = get_logger(__name__)
T = TypeVar("T")
PATIENCE_S = 1.5
"""How long another system is waited for before the mesh answers by itself."""
DEFAULT_CLUSTER = "default"


@dataclass(frozen=True)
class LineQuestion:
    """Lines of a function: the newest `limit` of those written from `start` to before `end`."""

    function_id: str
    workspace_id: str
    limit: int
    query: LineQuery
    start: datetime | None = None
    end: datetime | None = None


class LineSource(Protocol):
    """A system that lines are sent to."""

    async def lines(self, question: LineQuestion) -> Sequence[Line]:
        """Newest first. Raises Unavailable."""
        ...


class MetricSource(Protocol):
    """A system that scrapes the mesh."""

    async def metrics(self, function_id: str) -> Metrics:
        """Of the last hour. Raises Unavailable."""
        ...


@dataclass(frozen=True)
class Observing:
    """What there is beside the mesh, and the names that older clients call its machine by."""

    clusters: frozenset[str] = frozenset({DEFAULT_CLUSTER})
    lines: LineSource | None = None
    metrics: MetricSource | None = None
    patience_s: float = field(default=PATIENCE_S)


async def asked(call: Callable[[], Awaitable[T]], name: str, patience_s: float) -> T | str:
    """What another system answers; where it does not, or not soon, the sentence that says so."""
    try:
        async with asyncio.timeout(patience_s):
            return await call()
    except TimeoutError:
        why = f"did not answer within {patience_s:g} s"
    except Unavailable as error:
        why = error.message
    log.warning("not_answered_elsewhere", system=name, why=why)
    return f"{name} {why}; this is what the mesh has itself."
