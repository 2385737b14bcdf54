"""Trees of files as deterministic tars: the same files give the same bytes, whenever and by whom they were made."""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO


class TreeInvalid(Exception):
    """Something in the tree cannot be part of an artifact; the text is one sentence."""


def take_over(root: Path) -> None:
    """Make the tree this process's own, and writable by nobody else. Links are never followed.

    Raises TreeInvalid for a hard link to a file of root's: its mode is not ours to change.
    """
    uid, gid = os.geteuid(), os.getegid()
    for directory, names, files in os.walk(root):
        for path in (Path(directory), *(Path(directory, name) for name in (*names, *files))):
            status = path.lstat()
            mode = status.st_mode
            if uid == 0 and status.st_uid == 0 and status.st_nlink > 1 and stat.S_ISREG(mode):
                raise TreeInvalid(f"{path.name} is a second name of a file that is not the function's own.")
            if uid == 0:
                os.chown(path, uid, gid, follow_symlinks=False)
            if not stat.S_ISLNK(mode):
                path.chmod((stat.S_IMODE(mode) | 0o444 | (0o111 if stat.S_ISDIR(mode) else 0)) & 0o755)


def digest(root: Path, *, left_out: frozenset[str] = frozenset()) -> str:
    """sha256, in hex, over names and contents of the files and links below `root`; `left_out` names some to skip."""
    total = hashlib.sha256()
    for path, name in _walk(root, PurePosixPath(), left_out):
        if path.is_symlink():
            content = os.fsencode(path.readlink())
        elif path.is_file():
            content = hashlib.sha256(path.read_bytes()).digest()
        else:
            continue
        total.update(b"%s\0%d\0%s" % (os.fsencode(str(name)), len(content), content))
    return total.hexdigest()


def pack(parts: Mapping[str, Path], out: BinaryIO, *, comment: str, left_out: frozenset[str] = frozenset()) -> int:
    """Write a tar of `parts` (place in the tar -> directory or file) to `out`; returns the bytes of the files.

    Entries are sorted, owned by 0, dated 0. `comment` goes into the tar's own header, which makes the bytes of two
    artifacts differ even where all their files are the same. `left_out` names places (`app/node_modules`) to skip.
    Raises TreeInvalid for a link that leads out of its part, and for anything but files, directories and links.
    """
    total = 0
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": comment}) as archive:
        for place in sorted(parts):
            for path, name in _walk(parts[place], PurePosixPath(place), left_out):
                total += _add(archive, path, name, parts[place])
    return total


def _walk(root: Path, place: PurePosixPath, left_out: frozenset[str]) -> Iterator[tuple[Path, PurePosixPath]]:
    yield root, place
    if not root.is_dir():
        return
    for entry in sorted(os.scandir(root), key=lambda one: one.name):
        name = place / entry.name
        if str(name) in left_out:
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), name, left_out)
        else:
            yield Path(entry.path), name


def _add(archive: tarfile.TarFile, path: Path, name: PurePosixPath, root: Path) -> int:
    status = path.lstat()
    info = tarfile.TarInfo(str(name))
    info.mode = 0o755 if status.st_mode & 0o111 else 0o644
    if stat.S_ISDIR(status.st_mode):
        info.type, info.mode = tarfile.DIRTYPE, 0o755
    elif stat.S_ISLNK(status.st_mode):
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, str(path.readlink()), 0o777
        _check_link(path, info.linkname, root)
    elif stat.S_ISREG(status.st_mode):
        info.size = status.st_size
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as content:
            archive.addfile(info, content)
        return status.st_size
    else:
        raise TreeInvalid(f"{name} is a device, pipe or socket; an artifact has files only.")
    archive.addfile(info)
    return 0


def _check_link(path: Path, target: str, root: Path) -> None:
    inside = os.path.normpath(path.parent / target)
    if Path(target).is_absolute() or not Path(inside).is_relative_to(root):
        raise TreeInvalid(f"{path.relative_to(root)} is a link that leads out of the function's own files.")
