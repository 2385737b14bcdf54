"""What /proc says about processes: who is who, and how much memory they use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_STATE, _STARTED = 0, 19  # fields 3 and 22 of stat, counted after the command's closing bracket


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process for good: its pid, and when it started (clock ticks after boot), since pids come again."""

    pid: int
    started: int

    def __str__(self) -> str:
        return f"{self.pid}@{self.started}"

    @classmethod
    def parse(cls, text: str) -> ProcessId | None:
        """The one written as `pid@started`; None where the text is something else."""
        pid, _, started = text.partition("@")
        return cls(int(pid), int(started)) if pid.isdecimal() and started.isdecimal() else None


def identify(pid: int) -> ProcessId | None:
    """The process with that pid; None where there is none, or it has ended and only waits to be reaped."""
    fields = _stat(pid)
    if fields is None or fields[_STATE] in (b"Z", b"X"):
        return None
    return ProcessId(pid, int(fields[_STARTED]))


def is_running(process: ProcessId) -> bool:
    """Whether exactly that process runs."""
    return identify(process.pid) == process


def exists(process: ProcessId) -> bool:
    """Whether the process runs, or has ended and waits to be reaped."""
    fields = _stat(process.pid)
    return fields is not None and int(fields[_STARTED]) == process.started


def boot_id() -> str:
    """Changes with every boot of the machine."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def memory_bytes(pid: int) -> int:
    """Resident memory of a process and all its descendants."""
    total, left = 0, [pid]
    while left:
        one = left.pop()
        try:
            total += int((_PROC / f"{one}/statm").read_bytes().split()[1]) * _PAGE_BYTES
            for task in (_PROC / f"{one}/task").iterdir():
                left += [int(child) for child in (task / "children").read_bytes().split()]
        except (OSError, IndexError):
            continue
    return total


def commands() -> Iterator[tuple[int, list[str]]]:
    """The pid and command line of every process that can be read."""
    for entry in _PROC.iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        yield int(entry.name), [os.fsdecode(word) for word in words[:-1]]


def owned_by(uid: int) -> list[int]:
    """Pids of the processes of a user."""
    found = []
    for entry in _PROC.iterdir():
        if entry.name.isdecimal():
            try:
                owner = entry.stat().st_uid
            except OSError:
                continue
            if owner == uid:
                found.append(int(entry.name))
    return found


def _stat(pid: int) -> list[bytes] | None:
    try:
        text = (_PROC / f"{pid}/stat").read_bytes()
    except OSError:
        return None
    return text[text.rindex(b")") + 2 :].split()
