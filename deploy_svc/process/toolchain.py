"""What workloads run on: an interpreter that their users may execute, and the installed runtime server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy_svc.domain import Runtime
from mesh.errors import FailedPrecondition
from runtimes.catalog import install


@dataclass(frozen=True, slots=True)
class Toolchain:
    """What a workload's command line names. `lib` holds httptools, for Python only."""

    interpreter: Path
    server: Path
    lib: Path | None


class Toolchains:
    """Finds and prepares toolchains; what is installed goes below `root`, readable by all users.

    `python` and `node` are the settings, empty to search.
    """

    def __init__(self, root: Path, *, python: str = "", node: str = "") -> None:
        self._root = root
        self._python, self._node = python, node
        self._made: dict[tuple[Runtime, int | None], Toolchain] = {}

    def get(self, runtime: Runtime, user: int | None) -> Toolchain:
        """The toolchain for workloads of a user (None: the mesh's own). Blocks the first time.

        Raises FailedPrecondition (RUNTIME_MISSING, RUNTIME_UNSUPPORTED, DATA_DIR_PRIVATE) with what to do.
        """
        key = (runtime, user)
        if key not in self._made:
            self._made[key] = self._make(runtime, user)
        return self._made[key]

    def _make(self, runtime: Runtime, user: int | None) -> Toolchain:
        if runtime is Runtime.PYTHON:
            interpreter = self.find_python(user)
            installed = install("python", self._root)
        elif runtime is Runtime.NODE:
            interpreter = self.find_node(user)
            installed = install("node", self._root)
        else:
            raise FailedPrecondition(
                "RUNTIME_UNSUPPORTED", f"The process target cannot run {runtime} functions; use another target."
            )
        check_enterable(installed.server, user)
        return Toolchain(interpreter, installed.server, installed.lib)

    def find_python(self, user: int | None) -> Path:
        """An interpreter of the mesh's own version that the user may execute."""
        if self._python:
            path = _on_path(self._python)
            if path is None or not may_execute(path, user):
                raise _missing(f"'{self._python}' (FNMESH_WORKLOAD_PYTHON) cannot be executed")
            return path
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        base = Path(getattr(sys, "_base_executable", "") or sys.executable)
        for candidate in (base, *_pythons(version)):
            if may_execute(candidate, user) and (candidate == base or _version(candidate) == version):
                return candidate
        raise _missing(
            f"there is no Python {version} that other users may execute; install one (such as"
            f" /usr/bin/python{version}) and name it in FNMESH_WORKLOAD_PYTHON"
        )

    def find_node(self, user: int | None) -> Path:
        """A Node.js that the user may execute."""
        path = _on_path(self._node or "node")
        if path is None:
            raise _missing("there is no Node.js on PATH; install it or name it in FNMESH_WORKLOAD_NODE")
        if not may_execute(path, user):
            raise _missing(f"the users of functions may not execute {path}")
        return path


def check_enterable(path: Path, user: int | None) -> None:
    """Raises FailedPrecondition (DATA_DIR_PRIVATE) where the user cannot get to a path of the mesh."""
    blocked = first_closed(path, user)
    if blocked is not None:
        raise FailedPrecondition(
            "DATA_DIR_PRIVATE",
            f"Functions run as users of their own, and these cannot enter {blocked}: run"
            f" 'chmod o+x {blocked}', or choose another data directory.",
            directory=blocked,
        )


def first_closed(directory: Path, user: int | None) -> Path | None:
    """The first directory on the way that the user (without groups) may not enter; None where there is none."""
    if user is None:
        return None
    resolved = directory.resolve()
    for one in (*reversed(resolved.parents), resolved):
        status = one.stat()
        needed = 0o100 if status.st_uid == user else 0o001
        if not status.st_mode & needed:
            return one
    return None


def may_execute(program: Path, user: int | None) -> bool:
    """Whether the user (None: the mesh's own) may execute a program."""
    if shutil.which(program) is None:  # raises nothing where a directory on the way may not be read
        return False
    if user is None:
        return True
    real = program.resolve()
    return bool(real.stat().st_mode & 0o001) and first_closed(real.parent, user) is None


def _pythons(version: str) -> Iterator[Path]:
    yield Path("/usr/bin/python3")
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        yield Path(directory) / f"python{version}"
        yield Path(directory) / "python3"


def _version(python: Path) -> str:
    try:
        found = subprocess.run(
            [python, "-I", "-S", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip()


def _on_path(name: str) -> Path | None:
    found = shutil.which(name)
    return Path(found) if found else None


def _missing(why: str) -> FailedPrecondition:
    return FailedPrecondition("RUNTIME_MISSING", f"The process target cannot run this: {why}.")
