"""Unpacks an artifact's tar into a tree that its readers cannot write.

The tar is the mesh's own, and is read as if it were not: files, directories and links that stay inside, nothing
else; links are made when all files are there, so that no file is written through one.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from pathlib import Path, PurePosixPath
from typing import IO

from mesh.errors import FailedPrecondition

_COPY_BYTES = 1 << 20
_MAX_MEMBERS = 500_000


def unpack(archive: IO[bytes], place: Path) -> None:
    """Fill the empty directory `place`; afterwards nothing in it is writable.

    Raises FailedPrecondition (ARTIFACT_BROKEN) for what is not a tar, or wants to write elsewhere.
    """
    links: list[tarfile.TarInfo] = []
    try:
        with tarfile.open(fileobj=archive, mode="r:*", bufsize=_COPY_BYTES) as tar:
            for count, member in enumerate(tar):
                if count >= _MAX_MEMBERS:
                    raise _broken("it has too many files")
                if member.issym() or member.islnk():
                    links.append(member)
                elif member.isdir():
                    _inside(place, member.name).mkdir(parents=True, exist_ok=True)
                elif member.isreg():
                    _write(tar, member, _inside(place, member.name))
                else:
                    raise _broken(f"'{member.name}' is neither a file nor a directory")
    except (tarfile.TarError, EOFError) as error:
        raise _broken(str(error)) from error
    for link in links:
        _link(place, link)
    _seal(place)


def remove_tree(tree: Path) -> None:
    """Delete a tree whose directories may be read-only; what cannot be deleted stays."""
    for directory, _, _ in os.walk(tree):
        Path(directory).chmod(0o700)
    shutil.rmtree(tree, ignore_errors=True)


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    source = tar.extractfile(member)
    if source is None:
        raise _broken(f"'{member.name}' has no content")
    mode = 0o555 if member.mode & stat.S_IXUSR else 0o444
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as target:
        shutil.copyfileobj(source, target, _COPY_BYTES)
        os.fchmod(fd, mode)
        target.flush()
        os.utime(fd, (member.mtime, member.mtime))  # compiled Python files name their source's time


def _link(place: Path, member: tarfile.TarInfo) -> None:
    path = _inside(place, member.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if member.islnk():
        source = _inside(place, member.linkname)
        if source.is_symlink() or not source.is_file():
            raise _broken(f"'{member.name}' links to nothing")
        os.link(source, path, follow_symlinks=False)
        return
    target = PurePosixPath(member.linkname)
    if target.is_absolute() or not _stays(PurePosixPath(member.name).parent, target):
        raise _broken(f"'{member.name}' links outside")
    path.symlink_to(member.linkname)


def _inside(place: Path, name: str) -> Path:
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts:
        raise _broken(f"'{name}' is outside")
    return place / pure


def _stays(parent: PurePosixPath, target: PurePosixPath) -> bool:
    depth = len(parent.parts)
    for part in target.parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            return False
    return True


def _seal(place: Path) -> None:
    for directory, _, _ in os.walk(place, topdown=False):
        Path(directory).chmod(0o555)


def _broken(why: str) -> FailedPrecondition:
    return FailedPrecondition("ARTIFACT_BROKEN", f"The artifact cannot be unpacked: {why}.")
