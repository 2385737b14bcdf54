"""The deadline of the call that is being served, as calls made on its behalf see it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_deadline: ContextVar[float | None] = ContextVar("fnmesh_deadline", default=None)


def set_remaining(seconds: float | None) -> None:
    """Says how long the call being served has left; None for no limit. For servers."""
    _deadline.set(None if seconds is None else time.monotonic() + seconds)


def remaining_s() -> float | None:
    """Seconds left of the call being served, never below zero; None where there is no limit."""
    deadline = _deadline.get()
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def bounded(own_s: float | None) -> float | None:
    """The smaller of an own limit and what is left of the inbound one; None where there is neither."""
    left = remaining_s()
    if left is None:
        return own_s
    return left if own_s is None else min(own_s, left)


@contextmanager
def detached() -> Iterator[None]:
    """Within it there is no inbound deadline: for work that outlives the call that began it."""
    token = _deadline.set(None)
    try:
        yield
    finally:
        _deadline.reset(token)
