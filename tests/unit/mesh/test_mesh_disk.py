"""What is told of a disk that is full or read only, whoever noticed."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from mesh import disk

FULL = "is full: free some space there, then call again."
READ_ONLY = "is read only: make it writable, then call again."


class ServerError(Exception):
    """As asyncpg raises it."""

    sqlstate = "53100"


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path) -> Iterator[Path]:
    disk.watch(tmp_path)
    yield tmp_path
    disk.forget()


def _sqlite(code: int) -> OperationalError:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = code
    return OperationalError("INSERT ...", {"secret": 1}, error)


def _said(error: BaseException) -> tuple[str, str]:
    told = disk.told(error)
    return (told.reason, told.message) if told else ("", "")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named(data_dir: Path, number: int) -> None:
    expected = ("DISK_FULL", f"The disk of the data directory {data_dir} {FULL}")
    assert _said(OSError(number, "no")) == expected
    assert _said(OSError(number, "no", str(data_dir / "blobs" / "x"))) == expected
    assert _said(_sqlite(sqlite3.SQLITE_FULL)) == expected
    assert _said(OSError(number, "no", "/elsewhere/x")) == ("DISK_FULL", f"The disk of /elsewhere {FULL}")


def test_a_read_only_disk_is_named(data_dir: Path) -> None:
    expected = ("DISK_READ_ONLY", f"The disk of the data directory {data_dir} {READ_ONLY}")
    assert _said(OSError(errno.EROFS, "no")) == expected
    assert _said(_sqlite(sqlite3.SQLITE_READONLY)) == expected


def test_the_database_servers_disk_is_another_one() -> None:
    reason, message = _said(OperationalError("INSERT ...", {}, ServerError()))
    assert (reason, message) == ("DISK_FULL", f"The disk of the database server {FULL}")


def test_it_is_found_behind_other_errors() -> None:
    try:
        try:
            raise OSError(errno.ENOSPC, "no")
        except OSError as error:
            raise RuntimeError("x") from error
    except RuntimeError as error:
        assert _said(error)[0] == "DISK_FULL"
        assert _said(ExceptionGroup("many", [ValueError(), error]))[0] == "DISK_FULL"


@pytest.mark.parametrize("error", [ValueError(), OSError(errno.ENOENT, "no"), _sqlite(sqlite3.SQLITE_IOERR)])
def test_other_errors_are_none_of_it(error: BaseException) -> None:
    assert disk.told(error) is None
