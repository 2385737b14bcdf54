"""Which file of a source holds the handler, and so which runtime runs it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, get_args

Runtime = Literal["python", "node"]
"""The runtimes with a server of their own here."""
Kind = Literal["python", "node", "spin"]

RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)
SUFFIXES: dict[Runtime, tuple[str, ...]] = {"python": (".py",), "node": (".js", ".mjs", ".cjs")}
_ROOT_NAMES: tuple[tuple[Runtime, str], ...] = (
    ("python", "handler.py"),
    ("python", "app.py"),
    ("python", "main.py"),
    ("node", "index.js"),
    ("node", "index.mjs"),
    ("node", "index.cjs"),
)
_SPIN_MANIFEST = "spin.toml"
_SPIN_CLASS = re.compile(rb"^class\s+IncomingHandler\b", re.MULTILINE)


class NoHandlerFound(ValueError):
    """The source has no file that could hold a handler; the text says which names are looked for."""


@dataclass(frozen=True)
class Entrypoint:
    """Where a function's handler is: `file` is relative to the root of its source."""

    runtime: Kind
    file: str


def find_entrypoint(names: Iterable[str]) -> Entrypoint:
    """The handler's file among the paths of a source (relative, with slashes).

    spin.toml, handler.py, app.py, main.py, index.js, index.mjs, index.cjs at the root, in this order; else the only
    file of code in the source, if it lies at the root; else the only file, if it is WebAssembly. Raises
    NoHandlerFound.
    """
    files = [PurePosixPath(name).as_posix() for name in names if not name.endswith("/")]
    if _SPIN_MANIFEST in files or (len(files) == 1 and files[0].endswith(".wasm")):
        return Entrypoint("spin", _SPIN_MANIFEST if _SPIN_MANIFEST in files else files[0])
    for runtime, name in _ROOT_NAMES:
        if name in files:
            return Entrypoint(runtime, name)
    code = [Entrypoint(kind, name) for name in files if (kind := runtime_of(name)) is not None]
    if len(code) == 1 and "/" not in code[0].file:
        return code[0]
    wanted = ", ".join(name for _, name in _ROOT_NAMES)
    raise NoHandlerFound(f"No handler found: the source needs one of {wanted} at its root.")


def is_spin_code(content: bytes) -> bool:
    """Whether Python code is written for Spin: it has the class that is a component's handler."""
    return _SPIN_CLASS.search(content) is not None


def runtime_of(name: str) -> Runtime | None:
    """The runtime that runs a file of this name, if one does."""
    suffix = PurePosixPath(name).suffix
    for runtime in RUNTIMES:
        if suffix in SUFFIXES[runtime]:
            return runtime
    return None
