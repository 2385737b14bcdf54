"""Sources of functions, written by tests."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

MakeSource = Callable[..., Path]


def source_maker(parent: Path) -> MakeSource:
    """Writes a source: `make_source("hello", **{"handler.py": "..."})`; dedented; returns its directory."""

    def make(name: str, **files: str) -> Path:
        root = parent / name
        root.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (root / file).write_text(textwrap.dedent(text))
        return root

    return make
