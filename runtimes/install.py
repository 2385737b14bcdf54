"""Puts a server where process workloads can read it."""

from __future__ import annotations

import compileall
import importlib.util
import os
import py_compile
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from runtimes.entrypoints import Runtime
from runtimes.files import runtime_files, runtime_version, server_sources


@dataclass(frozen=True)
class InstalledServer:
    """An installed server: the directories that a `Placement` wants. `lib` is None for Node."""

    server: Path
    lib: Path | None


def install(runtime: Runtime, destination: Path) -> InstalledServer:
    """Copy the server (for Python with its httptools) below `destination`: readable by all, compiled.

    Once for each version.     Safe to call again and from several processes: the copy appears whole by a
    rename, and is kept if it is there. Python's copy fits interpreters of the same minor version as this one
    only, because httptools is compiled code.
    """
    home = destination / f"{runtime}-{runtime_version(runtime)}"
    if not home.is_dir():
        destination.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=destination, prefix=".new-") as scratch:
            made = Path(scratch) / "home"
            _fill(runtime, made)
            try:
                made.rename(home)
            except OSError:
                if not home.is_dir():  # else somebody else was first, with the same files
                    raise
    return InstalledServer(home / "server", home / "lib" if runtime == "python" else None)


def _fill(runtime: Runtime, home: Path) -> None:
    root = runtime_files(runtime)
    for source in server_sources(runtime):
        target = home / "server" / source.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    if runtime == "python":
        spec = importlib.util.find_spec("httptools")
        assert spec is not None and spec.origin is not None
        ignore = shutil.ignore_patterns("__pycache__", "*.pyx", "*.pxd", "*.pyi")
        shutil.copytree(Path(spec.origin).parent, home / "lib" / "httptools", ignore=ignore)
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH  # nobody changes an installed version
        compileall.compile_dir(str(home), quiet=1, invalidation_mode=mode)
    for directory, _, files in os.walk(home):
        Path(directory).chmod(0o755)
        for name in files:
            (Path(directory) / name).chmod(0o644)
