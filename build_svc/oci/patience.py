"""How long a registry is waited for."""

from __future__ import annotations

from dataclasses import dataclass

from mesh.loops import Backoff

_BETWEEN = Backoff(first_s=0.6, limit_s=30.0)


@dataclass(frozen=True)
class Patience:
    """How long one request may take to get through or to be answered (seconds), how often it is tried, and what is
    waited in between."""

    connect_s: float = 10.0
    answer_s: float = 60.0
    tries: int = 4
    between: Backoff = _BETWEEN
