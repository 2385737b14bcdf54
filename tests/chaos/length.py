"""How long the chaos suite goes on, and with which seed.

FNMESH_CHAOS = short (default: a few rounds, for every test run) or long (each suite goes on for
FNMESH_CHAOS_MINUTES, default 5). FNMESH_CHAOS_SEED repeats the choices of an earlier run; the short form always
makes the same ones, the long form new ones each time.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

_SHORT_SEED = 3


@dataclass(frozen=True)
class Length:
    """The form of this run."""

    is_long: bool
    minutes: float
    seed: int

    def rounds(self, short: int) -> Iterator[int]:
        """Numbers of rounds from 1: so many in the short form, as many as the time allows in the long one."""
        ends, number = time.monotonic() + self.minutes * 60, 0
        while number < short if not self.is_long else time.monotonic() < ends:
            number += 1
            yield number

    def test_timeout_s(self, short_s: float) -> float:
        """What pytest-timeout should allow a test that goes by `rounds`."""
        return short_s + (self.minutes * 60 if self.is_long else 0)


@cache
def chosen() -> Length:
    """The form that the environment asks for. Raises ValueError where it asks for nonsense."""
    form = os.environ.get("FNMESH_CHAOS", "short")
    if form not in ("short", "long"):
        raise ValueError(f"FNMESH_CHAOS is '{form}'; it can be short or long")
    given = os.environ.get("FNMESH_CHAOS_SEED", "")
    seed = int(given) if given else _SHORT_SEED if form == "short" else secrets.randbelow(1_000_000)
    return Length(form == "long", float(os.environ.get("FNMESH_CHAOS_MINUTES") or 5), seed)
