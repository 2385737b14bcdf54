"""Rows of the table, and how they come into docs/performance.md."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
_BEGIN, _END = "<!-- bench:begin -->", "<!-- bench:end -->"
_HEAD = ("figure", "what", "measured", "to reach", "reached", "measured on")


@dataclass(frozen=True, slots=True)
class Row:
    """One line: what was measured, and where there is a figure to reach, which, and whether it was."""

    what: str
    measured: str
    wanted: str = ""
    reached: bool | None = None


def at_least(what: str, value: float, limit: float, text: str) -> Row:
    """A row for a figure that has to be `limit` or more."""
    return Row(what, text, f"≥ {limit:g}", value >= limit)


def at_most(what: str, value: float, limit: float, text: str, unit: str = "") -> Row:
    """A row for a figure that has to be `limit` or less."""
    return Row(what, text, f"≤ {limit:g}{unit and ' ' + unit}", value <= limit)


def lines_of(figure: str, rows: Sequence[Row], rounds: int) -> list[str]:
    """The rows of one figure as lines of the table."""
    made = f"{datetime.now(UTC):%Y-%m-%d}, {rounds} rounds"
    words = {None: "", True: "yes", False: "**no**"}
    return [
        f"| {figure} | {row.what} | {row.measured} | {row.wanted} | {words[row.reached]} | {made} |" for row in rows
    ]


def page_of(lines: Sequence[str]) -> str:
    """The machine and the whole table."""
    return "\n".join((machine(), "", f"| {' | '.join(_HEAD)} |", "|---" * len(_HEAD) + "|", *lines))


def machine() -> str:
    """The machine that measures, in one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"Machine: {os.cpu_count()} cores, {memory:.0f} GiB, {_processor()}, {platform.system()} "
        f"{platform.release().split('-')[0]}, Python {platform.python_version()}."
    )


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def write(measured: dict[str, list[str]], order: Sequence[str]) -> None:
    """Puts the lines of the figures that were measured into the page.

    Those of others stay, so that one figure can be measured again by itself; SystemExit where they are of
    another machine.
    """
    text = PAGE.read_text()
    table = text.partition(_BEGIN)[2].partition(_END)[0]
    kept: dict[str, list[str]] = {}
    for line in table.splitlines():
        figure = line.removeprefix("| ").partition(" |")[0]
        if figure in order and figure not in measured:
            kept.setdefault(figure, []).append(line)
    if kept and machine() not in table:
        raise SystemExit("The figures in docs/performance.md are of another machine: measure them all, without names.")
    lines = [line for figure in order for line in measured.get(figure) or kept.get(figure) or []]
    page = f"{_BEGIN}\n{page_of(lines)}\n{_END}"
    PAGE.write_text(re.sub(f"{_BEGIN}.*{_END}", lambda _: page, text, flags=re.DOTALL))
