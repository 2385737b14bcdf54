"""The Node of this machine, as a tree for an image: the program, npm, and on Debian the modules both share.

Two layouts: npm in /usr/lib/node_modules or /usr/local/lib/node_modules (Node's own packages), and Debian's
in /usr/share/nodejs, where also Node's built-in modules have parts of theirs. All keep their places.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.rootfs import Rootfs

_DEBIAN_MODULES = Path("/usr/share/nodejs")


def describe() -> list[str]:
    """What the tree depends on: the program's and npm's own files."""
    found = []
    for path in (_node(), _npm()):
        state = path.stat()
        found.append(f"{path} {state.st_size} {state.st_mtime_ns}")
    return found


def copy_to(rootfs: Rootfs) -> None:
    """Copy node and npm; `node`, `npm` and `npx` are on PATH. Raises RuntimeError if one is not installed."""
    shutil.copy2(_node(), rootfs.at("/usr/local/bin/node"))
    npm = _npm()
    for directory in _module_directories(npm):
        shutil.copytree(directory, rootfs.at(directory), symlinks=True, ignore_dangling_symlinks=True)
    rootfs.link("/usr/local/bin/npm", str(npm))
    rootfs.link("/usr/local/bin/npx", str(npm.with_name("npx-cli.js")))


def _node() -> Path:
    found = shutil.which("node")
    if found is None:
        raise RuntimeError("node is not installed")
    return Path(found).resolve()


def _npm() -> Path:
    found = shutil.which("npm")
    if found is None:
        raise RuntimeError("npm is not installed")
    return Path(found).resolve()


def _module_directories(npm: Path) -> list[Path]:
    """npm's own package, or all of Debian's shared modules if npm is one of them."""
    shared = [path for path in (_DEBIAN_MODULES, *Path("/usr/lib").glob("*/nodejs")) if path.is_dir()]
    own = npm.parents[1]
    return shared if own.is_relative_to(_DEBIAN_MODULES) else [own, *shared]
