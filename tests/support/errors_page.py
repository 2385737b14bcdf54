"""docs/errors.md as the tests read it: what it quotes is what they expect, so that it stays true."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
_CELL = re.compile(r"(?<!\\)\|")
_QUOTED = re.compile(r"(`+) ?(.+?) ?\1")


def sections() -> dict[str, dict[str, str]]:
    """The page: heading of a section -> what was done -> the exact answer. Raises ValueError for a row it cannot read.

    A section is a heading of the second level; a row of a table is what was done, the answer in backquotes, what
    to do.
    """
    found: dict[str, dict[str, str]] = {}
    rows: dict[str, str] | None = None
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            rows = found.setdefault(line.removeprefix("## ").strip(), {})
        elif line.startswith("|") and rows is not None:
            cells = [cell.strip().replace("\\|", "|") for cell in _CELL.split(line)[1:-1]]
            if cells[0] == "What was done" or set(cells[0]) <= set("-:"):
                continue
            quoted = _QUOTED.fullmatch(cells[1]) if len(cells) == 3 else None
            if quoted is None or not cells[2] or cells[0] in rows:
                raise ValueError(f"not a row of {PAGE.name}, or there twice: {line}")
            rows[cells[0]] = quoted[2]
    return found


def answers(section: str) -> Mapping[str, str]:
    """The exact answers of one section, by what was done."""
    return sections()[section]
