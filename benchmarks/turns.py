"""Measuring things against each other: in turns within a round, so that what disturbs one disturbs the other."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to measure: so many rounds, and in each of them so many seconds of load for each subject."""

    rounds: int
    seconds: float


def in_turns(subjects: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Measures every subject once a round, in an order that is turned around from round to round."""
    results: dict[str, list[T]] = {name: [] for name in subjects}
    order = list(subjects)
    for _ in range(rounds):
        for name in order:
            results[name].append(subjects[name]())
        order.reverse()
    return results


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """The rounds' own ratios."""
    return [a / b for a, b in zip(above, below, strict=True)]


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def spread(values: Sequence[float], form: str = "{:.2f}") -> str:
    """The median, and the least and greatest round."""
    low, middle, high = (form.format(one) for one in (min(values), statistics.median(values), max(values)))
    return f"{middle} ({low} to {high})"
