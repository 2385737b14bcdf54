"""The files of the servers, and the version that names them."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from runtimes.entrypoints import SUFFIXES, Runtime

_HERE = Path(__file__).parent


def runtime_files(runtime: Runtime) -> Path:
    """The directory of the server's files. To be copied: a function's user may be unable to read them."""
    return _HERE / runtime


@cache
def runtime_version(runtime: Runtime) -> str:
    """16 hex digits that change with any file of the server or its images: part of every artifact key."""
    digest = hashlib.sha256()
    root = runtime_files(runtime)
    for path in [*server_sources(runtime), *sorted((_HERE / "docker").glob(f"{runtime}*.Dockerfile"))]:
        name = path.relative_to(root if path.is_relative_to(root) else _HERE).as_posix()
        content = path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def server_sources(runtime: Runtime) -> list[Path]:
    """The server's own files, sorted; not what Python has cached beside them."""
    root = runtime_files(runtime)
    return sorted(path for path in root.rglob("*") if path.is_file() and path.suffix in SUFFIXES[runtime])
