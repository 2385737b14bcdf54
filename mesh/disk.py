"""A disk that is full or read only, told as what it is, whoever noticed it: a file, SQLite or PostgreSQL."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from mesh.errors import FailedPrecondition, MeshError, ResourceExhausted

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_SQLITE_VAGUE = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})
"""What SQLite also says where there is no room for the files beside the database."""
_POSTGRES_FULL = "53100"
_SPARE_BYTES = 64 * 1024

_data_dir: Path | None = None


def watch(data_dir: Path) -> None:
    """Says which directory's disk is meant where an error names none. Called once, by `mesh.main`."""
    global _data_dir
    _data_dir = data_dir


def forget() -> None:
    """No directory is meant any more. For tests."""
    global _data_dir
    _data_dir = None


def told(error: BaseException) -> MeshError | None:
    """The error that callers get where a disk is behind this one; None where none is."""
    for one in _causes(error):
        if isinstance(one, OSError) and one.errno in _FULL:
            return _full(one.filename)
        if isinstance(one, OSError) and one.errno == errno.EROFS:
            return _read_only(one.filename)
        if isinstance(one, sqlite3.Error):
            code = getattr(one, "sqlite_errorcode", 0) & 0xFF
            if code == sqlite3.SQLITE_FULL or (code in _SQLITE_VAGUE and _has_no_room()):
                return _full(None)
            if code == sqlite3.SQLITE_READONLY:
                return _read_only(None)
        if getattr(one, "sqlstate", "") == _POSTGRES_FULL:
            return ResourceExhausted(
                "DISK_FULL", "The disk of the database server is full: free some space there, then call again."
            )
    return None


def _full(path: object) -> MeshError:
    sentence = f"The disk of {_place(path)} is full: free some space there, then call again."
    return ResourceExhausted("DISK_FULL", sentence)


def _read_only(path: object) -> MeshError:
    return FailedPrecondition(
        "DISK_READ_ONLY", f"The disk of {_place(path)} is read only: make it writable, then call again."
    )


def _place(path: object) -> str:
    """The data directory where the path is in it: nobody outside needs to know what is where in there."""
    if isinstance(path, bytes | str) and path and _data_dir is not None:
        named = Path(os.fsdecode(path))
        if named.is_absolute() and not named.is_relative_to(_data_dir):
            return f"{named.parent}"
    return f"the data directory {_data_dir}" if _data_dir is not None else "the data directory"


def _has_no_room() -> bool:
    if _data_dir is None:
        return False
    try:
        found = os.statvfs(_data_dir)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < _SPARE_BYTES


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what it wraps (`orig` of SQLAlchemy), what it came from, and what is in it where it is a group."""
    seen: set[int] = set()
    left = [error]
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, BaseExceptionGroup):
            left.extend(one.exceptions)
        left.extend(
            other for other in (getattr(one, "orig", None), one.__cause__, one.__context__)
            if isinstance(other, BaseException)
        )  # fmt: skip
