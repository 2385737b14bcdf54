"""Where the tests' own servers keep their state, and the locks that let several runs share them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def state_dir() -> Path:
    """FNMESH_TEST_DIR, or /tmp/fnmesh-test-<uid> (socket paths must be short); made if it is not there.

    Raises RuntimeError if it belongs to somebody else: the default's name can be guessed.
    """
    given = os.environ.get("FNMESH_TEST_DIR")
    path = Path(given) if given else Path("/tmp") / f"fnmesh-test-{os.getuid()}"
    path.mkdir(mode=0o755, parents=True, exist_ok=True)
    owner = path.stat().st_uid
    if owner != os.getuid():
        raise RuntimeError(f"{path} belongs to uid {owner}; set FNMESH_TEST_DIR to a directory of your own")
    return path


def envoy_cache() -> Path:
    """Where meshes of tests keep Envoy's configuration, which is the same for most of them."""
    return state_dir() / "envoy-cache"


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold `path` locked among all processes of this machine; freed by the kernel if the holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
