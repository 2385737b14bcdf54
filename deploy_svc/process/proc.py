"""What /proc says about processes: who is who, and how much memory they use."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
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
    fields = stat_fields(pid)
    if fields is None or fields[_STATE] in (b"Z", b"X"):
        return None
    return ProcessId(pid, int(fields[_STARTED]))


def is_running(process: ProcessId) -> bool:
    """Whether exactly that process runs."""
    return identify(process.pid) == process


def exists(process: ProcessId) -> bool:
    """Whether the process runs, or has ended and waits to be reaped."""
    fields = stat_fields(process.pid)
    return fields is not None and int(fields[_STARTED]) == process.started


def boot_id() -> str:
    """Changes with every boot of the machine."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def family(pids: Iterable[int]) -> set[int]:
    """Processes and all their descendants."""
    found: set[int] = set()
    left = list(pids)
    while left:
        one = left.pop()
        if one in found:
            continue
        found.add(one)
        try:
            for task in (_PROC / f"{one}/task").iterdir():
                left += [int(child) for child in (task / "children").read_bytes().split()]
        except OSError:
            continue
    return found


def memory_bytes(pids: Iterable[int], enough: int) -> int:
    """Memory that processes use: what several of them share counts once. Exact only where it is over `enough`."""
    sizes = {pid: _resident_bytes(pid) for pid in pids}
    total = sum(sizes.values())
    if total <= enough or len(sizes) == 1:
        return total
    return sum(_proportional_bytes(pid, size) for pid, size in sizes.items())


def _resident_bytes(pid: int) -> int:
    try:
        return int((_PROC / f"{pid}/statm").read_bytes().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return 0


def _proportional_bytes(pid: int, unknown: int) -> int:
    """The resident memory of a process, with its share of what it shares; costs much more than the other."""
    try:
        for line in (_PROC / f"{pid}/smaps_rollup").read_bytes().splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    except ProcessLookupError:
        return 0
    except OSError:
        return unknown
    return unknown


def environment(pid: int) -> list[bytes]:
    """The environment that a process was started with; empty where it cannot be read."""
    try:
        return (_PROC / f"{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


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


def owners() -> Iterator[tuple[int, int]]:
    """The pid and the user of every process."""
    for entry in _PROC.iterdir():
        if entry.name.isdecimal():
            try:
                yield int(entry.name), entry.stat().st_uid
            except OSError:
                continue


def owned_by(uid: int) -> list[int]:
    """Pids of the processes of a user."""
    return [pid for pid, owner in owners() if owner == uid]


def stat_fields(pid: int) -> list[bytes] | None:
    """The fields of a process's stat after its command, the state first; None where it is gone."""
    try:
        text = (_PROC / f"{pid}/stat").read_bytes()
    except OSError:
        return None
    return text[text.rindex(b")") + 2 :].split()
