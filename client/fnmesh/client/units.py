"""Amounts as people write them."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

from fnmesh.client.errors import SourceError

_BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
_SECONDS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600), "": Decimal(1)}
_AMOUNT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")
# Amounts end here, far above every limit: the mesh knows its limits, and a message has no room for more.
_MOST_BYTES = Decimal(2**63 - 1)
_MOST_MILLIS = Decimal(2**31 - 1)
_MOST_SECONDS = Decimal(10**9)


def parse_memory(text: str | int) -> int:
    """Bytes of `256Mi`, `1Gi`, `512M`, `1.5GiB`, or of a plain number. Raises SourceError."""
    match = _AMOUNT.fullmatch(str(text))
    unit = match[2].lower().removesuffix("b") if match else ""
    if match is None or unit not in _BYTES:
        raise SourceError(f"'{text}' is not an amount of memory; write it as 256Mi.")
    return int(min(Decimal(match[1]) * _BYTES[unit], _MOST_BYTES))


def parse_cpu(text: str | int | float) -> int:
    """Thousandths of a CPU of `0.5`, `2` or `250m`. Raises SourceError."""
    match = _AMOUNT.fullmatch(str(text))
    if match is None or match[2] not in ("", "m"):
        raise SourceError(f"'{text}' is not a share of CPUs; write it as 0.5.")
    return int(min(Decimal(match[1]) * (1 if match[2] else 1000), _MOST_MILLIS))


def parse_duration(text: str | int | float | timedelta) -> timedelta:
    """A duration of `10s`, `500ms`, `2m`, or of a plain number of seconds. Raises SourceError."""
    if isinstance(text, timedelta):
        return text
    match = _AMOUNT.fullmatch(str(text))
    if match is None or match[2].lower() not in _SECONDS:
        raise SourceError(f"'{text}' is not a duration; write it as 10s.")
    return timedelta(seconds=float(min(Decimal(match[1]) * _SECONDS[match[2].lower()], _MOST_SECONDS)))


def show_bytes(amount: int) -> str:
    """`256 MiB` of 268435456: the largest unit that leaves at least 1, one decimal where it is not whole."""
    size, unit = float(amount), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} {unit}" if size == int(size) or unit == "B" else f"{size:.1f} {unit}"


def show_duration(seconds: float) -> str:
    """`420 ms`, `3.1 s`, `2 min 5 s`."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
