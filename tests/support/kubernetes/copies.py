"""Copies of JSON: several times faster than `copy.deepcopy`, which minds what JSON cannot be."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


def clone(value: T) -> T:
    """Shares nothing with `value` that could be altered."""
    if isinstance(value, dict):
        return {key: clone(one) for key, one in value.items()}  # type: ignore[return-value]
    if isinstance(value, list):
        return [clone(one) for one in value]  # type: ignore[return-value]
    return value
