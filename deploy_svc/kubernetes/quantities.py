"""Kubernetes' quantities, read. Pure."""

from __future__ import annotations

_SUFFIXES = {
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60,
    "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
}  # fmt: skip


def quantity(text: str) -> float:
    """The number that a quantity (`250m`, `64Mi`, `1e3`, `12345n`) means; 0 where it means none."""
    try:
        return float(text)
    except ValueError:
        pass
    for suffix, factor in _SUFFIXES.items():
        if text.endswith(suffix):
            try:
                return float(text.removesuffix(suffix)) * factor
            except ValueError:
                return 0.0
    return 0.0
