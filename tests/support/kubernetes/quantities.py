"""Quantities ("500m", "1Gi") in the one form in which the server gives them back."""

from __future__ import annotations

import re
from fractions import Fraction

_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DECIMAL = {
    "n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "": Fraction(1), "k": Fraction(10**3),
    "M": Fraction(10**6), "G": Fraction(10**9), "T": Fraction(10**12), "P": Fraction(10**15), "E": Fraction(10**18),
}  # fmt: skip
_WRITTEN = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E|[eE][+-]?\d+)?")


def amount(quantity: str | float) -> Fraction:
    """How much that is. Raises ValueError, worded as the server words it."""
    found = _WRITTEN.fullmatch(str(quantity))
    if found is None:
        raise ValueError(
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        )  # fmt: skip
    number, suffix = Fraction(found[1]), found[2] or ""
    if suffix in _BINARY:
        return number * _BINARY[suffix]
    if suffix[:1] in ("e", "E") and len(suffix) > 1:
        return number * Fraction(10) ** int(suffix[1:])
    return number * _DECIMAL[suffix]


def canonical(quantity: str | float) -> str:
    """1024Mi is 1Gi, 0.5 is 500m, 1000m is 1. Raises ValueError."""
    text = str(quantity)
    value = amount(text)
    if text[-2:] in _BINARY:
        if value.denominator == 1 and abs(value) >= 1024:
            for suffix, size in reversed(_BINARY.items()):
                if value % size == 0:
                    return f"{value // size}{suffix}"
        if value.denominator == 1:
            return str(value)
    if value == 0:
        return "0"
    for suffix, unit in reversed(_DECIMAL.items()):
        if (value / unit).denominator == 1:
            return f"{value / unit}{suffix}"
    return text
