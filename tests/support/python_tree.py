"""The Python of this virtual environment, as a tree for an image: its interpreter, its stdlib and its pip.

Two layouts: an installation of its own (pyenv, python.org; goes to /usr/local) and Debian's (bin and lib in
/usr, which keep their places, since Debian's `site` names them).
"""

from __future__ import annotations

import compileall
import contextlib
import io
import shutil
import sys
import sysconfig
from pathlib import Path

from tests.support.rootfs import Rootfs

_VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
_LEFT_OUT_OF_STDLIB = {
    "__pycache__", "test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip",
    "site-packages", "dist-packages", "EXTERNALLY-MANAGED",
}  # fmt: skip


def describe() -> list[str]:
    """What the tree depends on: versions, and the interpreter's own file."""
    binary = _interpreter().stat()
    return [sys.version, str(_interpreter()), str(binary.st_size), str(binary.st_mtime_ns), _pip_info().name]


def copy_to(rootfs: Rootfs) -> None:
    """Copy interpreter, stdlib (compiled) and pip; `python`, `python3` and `pip` are on PATH."""
    prefix = "/usr" if sys.base_prefix == "/usr" else "/usr/local"
    shutil.copy2(_interpreter(), rootfs.at(f"{prefix}/bin/{_VERSION}"))
    for name in ("python3", "python"):
        rootfs.link(f"{prefix}/bin/{name}", _VERSION)
    stdlib = rootfs.at(f"{prefix}/lib/{_VERSION}")
    shutil.copytree(sysconfig.get_path("stdlib"), stdlib, symlinks=False, ignore=_ignored)
    _copy_pip(rootfs)
    with contextlib.redirect_stdout(io.StringIO()):  # some of the stdlib's own files are wrong on purpose
        compileall.compile_dir(stdlib, quiet=2, stripdir=str(rootfs.path), workers=2)


def _copy_pip(rootfs: Rootfs) -> None:
    folder = "dist-packages" if sys.base_prefix == "/usr" else "site-packages"
    packages = rootfs.at(f"/usr/local/lib/{_VERSION}/{folder}")
    info = _pip_info()
    for source in (info.parent / "pip", info):
        shutil.copytree(source, packages / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    rootfs.write("/usr/local/bin/pip", '#!/bin/sh\nexec python3 -m pip "$@"\n', mode=0o755)
    rootfs.link("/usr/local/bin/pip3", "pip")


def _interpreter() -> Path:
    return Path(sys.base_prefix, "bin", _VERSION).resolve()


def _pip_info() -> Path:
    return next(Path(sysconfig.get_path("purelib")).glob("pip-*.dist-info"))


def _ignored(directory: str, names: list[str]) -> set[str]:
    return {name for name in names if name in _LEFT_OUT_OF_STDLIB or name.startswith("config-")}
