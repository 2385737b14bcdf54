"""Kubernetes' quantities: `500m` of a CPU, `128Mi` of memory."""

from __future__ import annotations

import re
from decimal import Decimal

_QUANTITY = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([A-Za-z]{0,2})")
_BYTES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def cpu_millis(text: str) -> int:
    """Thousandths of a CPU. Raises ValueError with a sentence."""
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2] not in ("", "m"):
        raise ValueError("write a CPU limit such as 500m or 1")
    millis = int(Decimal(match[1]) * (1 if match[2] else 1000))
    if not 10 <= millis <= 256_000:
        raise ValueError("a CPU limit is between 10m and 256")
    return millis


def memory_bytes(text: str) -> int:
    """Bytes. Raises ValueError with a sentence."""
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2] not in _BYTES:
        raise ValueError("write a memory limit such as 128Mi or 1Gi")
    size = int(Decimal(match[1]) * _BYTES[match[2]])
    if not 16 * 2**20 <= size <= 64 * 2**30:
        raise ValueError("a memory limit is between 16Mi and 64Gi")
    return size
