"""Records of runs on their way to the database, in files: what a killed process had not written yet, others write.

Each process has a file of its own, which it holds locked; a file that nobody holds is one that was left behind. Records
are put into it as soon as the event loop is free, in one write for all that came, and a new file is begun with every
batch that goes to the database, so that the old one can go when the batch is there. The files survive the process, not
the machine: nothing is flushed to the disk itself.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import fields
from operator import attrgetter
from pathlib import Path

from invoke_svc.domain import Run, Trigger
from mesh.logs import get_logger

log = get_logger(__name__)
_SUFFIX = ".runs"
_FIELDS = tuple(field.name for field in fields(Run))


class Left:
    """A file that a process left behind, locked until it is closed."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._descriptor = path, descriptor

    def runs(self) -> list[Run]:
        """What it holds. A line that was cut off, or that no version of ours wrote, is left out."""
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            file.seek(0)
            return [run for line in file if (run := _run(line)) is not None]

    def close(self, *, written: bool) -> None:
        """Gives it free; removes it where all of it is written."""
        if written:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


class Spool:
    """The files of this process below a directory, which is made. Where files cannot be written there are none, and
    nothing else is different."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lines: list[bytes] = []
        self._current: Left | None = None
        self._sealed: list[Left] = []
        self._descriptor = -1
        self._broken = False

    def add(self, run: Run) -> None:
        """Puts a record in before the event loop waits again."""
        if self._broken:
            return
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._write)
        self._lines.append(_line(run))

    def seal(self) -> None:
        """What was put in so far is about to be written to the database.

        While it cannot be, no more files are begun: what comes meanwhile is written with it, and sealed later.
        """
        self._write()
        if self._current is not None and not self._sealed:
            self._sealed.append(self._current)
            self._current = None

    def drop(self) -> None:
        """All that was sealed is in the database."""
        for file in self._sealed:
            file.close(written=True)
        self._sealed.clear()

    def close(self) -> None:
        """What is not in the database is left for others."""
        self._write()
        for file in [*self._sealed, *([self._current] if self._current else [])]:
            file.close(written=False)
        self._sealed.clear()
        self._current = None
        self._broken = True

    def left_behind(self) -> Iterator[Left]:
        """The files that nobody holds; close each."""
        for path in sorted(self._directory.glob(f"*{_SUFFIX}")) if self._directory.is_dir() else ():
            file = _taken(path)
            if file is not None:
                yield file

    def _write(self) -> None:
        lines, self._lines = self._lines, []
        if not lines or self._broken:
            return
        try:
            if self._current is None:
                self._begin()
            os.write(self._descriptor, b"".join(lines))
        except OSError as error:
            self._broken = True
            log.warning("runs_not_spooled", error=str(error))

    def _begin(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._directory / f"{secrets.token_hex(8)}{_SUFFIX}"
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        self._current = Left(path, self._descriptor)


def _taken(path: Path) -> Left | None:
    """The file, locked; None where somebody holds it, or it was written and removed meanwhile."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink:
            return Left(path, descriptor)
    except BlockingIOError:
        pass
    os.close(descriptor)
    return None


def _plain(value: object) -> object:
    assert isinstance(value, Trigger)
    return value.value


_values = attrgetter(*_FIELDS)
_encode = json.JSONEncoder(default=_plain, check_circular=False, separators=(",", ":")).encode


def _line(run: Run) -> bytes:
    return _encode(_values(run)).encode() + b"\n"


def _run(line: bytes) -> Run | None:
    try:
        values = dict(zip(_FIELDS, json.loads(line), strict=True))
        return Run(**{**values, "trigger": Trigger(values["trigger"])})
    except (ValueError, TypeError, KeyError):
        return None
