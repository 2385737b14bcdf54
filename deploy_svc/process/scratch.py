"""The directories that instances may write: how much is in them, and the end of them, whatever was made there."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

_MOST_ENTRIES = 100_000  # a directory of more is too full, whatever their size


def used_bytes(root: Path, enough: int) -> int:
    """Bytes on disk below a directory; stops counting beyond `enough`, and takes too many entries for more."""
    total = entries = 0
    left = [os.fspath(root)]
    while left and total <= enough:
        with contextlib.suppress(OSError), os.scandir(left.pop()) as found:
            for entry in found:
                entries += 1
                with contextlib.suppress(OSError):
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        left.append(entry.path)
                if entries > _MOST_ENTRIES:
                    return enough + 1
    return total


def remove(root: Path) -> None:
    """Delete a directory, however deep it is; what cannot be deleted stays."""
    with contextlib.suppress(RecursionError):
        shutil.rmtree(root, ignore_errors=True)
    if root.is_dir() and not root.is_symlink():
        with contextlib.suppress(OSError):
            _flatten(root)
        shutil.rmtree(root, ignore_errors=True)


def _flatten(root: Path) -> None:
    """Empty a directory without going deeper than one level: what is below is moved up, then looked at in turn."""
    numbers = itertools.count()
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        while found := _names(top):
            for name in found:
                if not _is_directory(name, top):
                    os.unlink(name, dir_fd=top)
                    continue
                fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
                try:
                    _empty(fd, top, numbers)
                finally:
                    os.close(fd)
                os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)


def _empty(fd: int, top: int, numbers: Iterator[int]) -> None:
    for inner in _names(fd):
        if _is_directory(inner, fd):
            taken = set(_names(top))
            name = next(name for number in numbers if (name := f".up-{number}") not in taken)
            os.rename(inner, name, src_dir_fd=fd, dst_dir_fd=top)
        else:
            os.unlink(inner, dir_fd=fd)


def _names(directory: int) -> list[str]:
    with os.scandir(directory) as found:
        return [entry.name for entry in found]


def _is_directory(name: str, parent: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
