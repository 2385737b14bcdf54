"""Processes that outlive the one that started them, known by pid and never by name."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

_POLL_S = 0.02


def spawn_detached(argv: list[str], log_path: Path) -> int:
    """Start `argv` in a session of its own, output appended to `log_path`; returns its pid.

    A shell forks it and ends, so that it belongs to init: nobody here has to wait for it.
    """
    started = subprocess.run(
        [
            "/bin/sh",
            "-c",
            'log=$1; shift; "$@" >>"$log" 2>&1 </dev/null & echo $!',
            "sh",
            str(log_path),
            *argv,
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        start_new_session=True,
    )
    return int(started.stdout)


def is_running(pid: int) -> bool:
    """Whether `pid` is a process that can still do something; a zombie cannot."""
    stat = _stat_fields(pid)
    return stat is not None and stat[0] not in "ZX"


def start_ticks(pid: int) -> int | None:
    """When `pid` started, in clock ticks since boot: tells it from a later process of the same number."""
    stat = _stat_fields(pid)
    return None if stat is None else int(stat[19])


def command_name(pid: int) -> str:
    """The process's own short name, or "" if there is none."""
    return _read(pid, "comm").strip()


def command_line(pid: int) -> list[str]:
    """The process's arguments, or [] if there is none."""
    return [word for word in _read(pid, "cmdline").split("\0") if word]


def all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def working_in(directory: Path) -> list[int]:
    """Running processes, but for this one, whose arguments, environment or working directory name `directory`."""
    word = str(directory)
    return [
        pid
        for pid in all_pids()
        if pid != os.getpid()
        and any(word in text for text in (_read(pid, "cmdline"), _read(pid, "environ"), _working_directory(pid)))
        and is_running(pid)
    ]


def pid_in(pidfile: Path) -> int | None:
    """The pid written in `pidfile` (its first line), or None if there is no such file or number."""
    try:
        return int(pidfile.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def terminate(pid: int, grace_s: float, *, first: signal.Signals = signal.SIGTERM) -> None:
    """End `pid`: `first` (also to a stopped one), SIGKILL after `grace_s`; returns when it has ended."""
    _signal(pid, first)
    _signal(pid, signal.SIGCONT)
    if not wait_ended(pid, grace_s):
        _signal(pid, signal.SIGKILL)
        wait_ended(pid, 5)


def kill(pid: int) -> None:
    """SIGKILL `pid` and wait until it has ended."""
    _signal(pid, signal.SIGKILL)
    wait_ended(pid, 5)


def resume(pid: int) -> None:
    """Let a stopped process go on."""
    _signal(pid, signal.SIGCONT)


def wait_ended(pid: int, deadline_s: float) -> bool:
    """Whether `pid` ended within `deadline_s`."""
    end = time.monotonic() + deadline_s
    while is_running(pid):
        if time.monotonic() > end:
            return False
        time.sleep(_POLL_S)
    return True


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _stat_fields(pid: int) -> list[str] | None:
    """Fields 3.. of /proc/PID/stat (state first); the name before them may hold spaces and brackets."""
    text = _read(pid, "stat")
    return text.rpartition(")")[2].split() if text else None


def _working_directory(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""


def environment(pid: int) -> dict[str, str]:
    """The environment that `pid` was started with, as far as it may be read."""
    pairs = (pair.partition("=") for pair in _read(pid, "environ").split("\0"))
    return {name: value for name, _, value in pairs if name}


def peak_bytes(pid: int) -> int:
    """The most memory that `pid` has used since it started, or since `reset_peak`."""
    return _status_bytes(pid, "VmHWM")


def reset_peak(pid: int) -> int:
    """Have `peak_bytes` count from now on; the memory that `pid` uses now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return _status_bytes(pid, "VmRSS")


def _status_bytes(pid: int, field: str) -> int:
    return next(
        int(line.split()[1]) * 1024 for line in _read(pid, "status").splitlines() if line.startswith(f"{field}:")
    )


def children(pid: int) -> list[int]:
    """The processes that `pid` has started and not lost."""
    return [one for one in all_pids() if (stat := _stat_fields(one)) is not None and int(stat[1]) == pid]
