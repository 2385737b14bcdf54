"""A disk of a few megabytes, to be filled up, or one that nobody can write to."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_CHUNK = bytes(64 * 1024)


@functools.cache
def why_missing() -> str | None:
    """Why no file system can be mounted here, or None."""
    if os.geteuid() != 0:
        return "only root may mount a file system"
    if shutil.which("mount") is None:
        return "mount not found on PATH"
    place = Path(tempfile.mkdtemp(prefix="fnm-mount-"))
    try:
        done = _mount(place, "size=64k")
        if done.returncode == 0:
            subprocess.run(["umount", str(place)], check=True)
    finally:
        place.rmdir()
    return None if done.returncode == 0 else f"mount is refused: {done.stderr.strip()}"


class SmallDisk:
    """A file system in memory at a directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        """Writes until not a byte more goes in."""
        with self._filler.open("ab", buffering=0) as file:
            for size in (len(_CHUNK), 4096, 1):
                with suppress(OSError):
                    while True:
                        file.write(_CHUNK[:size])

    def free(self) -> None:
        """Takes away what `fill` wrote."""
        self._filler.unlink(missing_ok=True)

    @property
    def is_full(self) -> bool:
        return os.statvfs(self.path).f_bavail == 0


@contextmanager
def small_disk(path: Path, *, mebibytes: int) -> Iterator[SmallDisk]:
    """Mounts one at a directory, for as long as the context lasts."""
    done = _mount(path, f"size={mebibytes}m,mode=0711")
    assert done.returncode == 0, done.stderr
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """Lets nobody write to a directory, root neither, for as long as the context lasts."""
    subprocess.run(["mount", "--bind", str(path), str(path)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(path)], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def _mount(path: Path, options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "fnmesh-test", str(path)], capture_output=True, text=True, check=False
    )
