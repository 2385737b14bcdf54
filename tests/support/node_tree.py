"""The Node of this machine, as a tree for an image: the program, npm, and on Debian the modules both share.

Two layouts: npm as a package of Node's own (in some lib/node_modules), and Debian's, where npm and parts of
Node's built-in modules lie in /usr/share/nodejs. What is below /usr keeps its place: Debian's Node looks for
its modules from there. What is elsewhere (nvm and the like) goes to /usr/local.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.rootfs import Rootfs

_USR = Path("/usr")
_DEBIAN_NPM = Path("/usr/share/nodejs/npm")
_DEBIAN_MODULES = ("share/nodejs", "share/javascript", "lib/nodejs", "lib/*/nodejs")


def describe() -> list[str]:
    """What the tree depends on: the program's and npm's own files."""
    found = []
    for path in (_program("node"), _program("npm")):
        state = path.stat()
        found.append(f"{path} {state.st_size} {state.st_mtime_ns}")
    return found


def copy_to(rootfs: Rootfs) -> None:
    """Copy node and npm; `node`, `npm` and `npx` are on PATH. Raises RuntimeError if one is not installed."""
    node, npm_cli = _program("node"), _program("npm")
    npm = npm_cli.parents[1]
    if npm == _DEBIAN_NPM:
        for directory in (found for pattern in _DEBIAN_MODULES for found in _USR.glob(pattern)):
            _copy_tree(directory, rootfs.at(directory))
    else:
        place = npm if npm.is_relative_to(_USR) else _USR / "local/lib/node_modules/npm"
        _copy_tree(npm, rootfs.at(place))
        npm_cli = place / npm_cli.relative_to(npm)
    shutil.copy2(node, rootfs.at(node if node.is_relative_to(_USR) else _USR / "local/bin/node"))
    rootfs.link("/usr/local/bin/npm", str(npm_cli))
    rootfs.link("/usr/local/bin/npx", str(npm_cli.with_name("npx-cli.js")))


def _copy_tree(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)


def _program(name: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise RuntimeError(f"{name} is not installed")
    return Path(found).resolve()
