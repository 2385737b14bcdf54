"""Stops a process at a moment that is seen from outside: `python -I -S stopper.py`, the order as JSON on stdin.

Between looks it lets the process run for a fraction of a millisecond, so that it has done hardly anything since the
moment: what it does next takes longer. A process of its own, at the front of the queue for a processor, since
whoever shares an interpreter with busy clients looks too late. Prints `ready`, then what it saw, with the process
stopped; nothing, with the process running, where the moment does not come.

The order: `pid`, `within_s`, `file`, `query` and `arguments` (SQLite: the moment is the first row). With `instances`
(a directory) the row names an instance, and the moment is that its process runs too. `near` may be another query:
until it finds a row the process runs freely.
"""

import contextlib
import json
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_SLICE_S = 0.0001
_APPEARS_S = 0.1
_PRIORITY = 10


def main() -> None:
    """Carries out the order."""
    order = json.loads(sys.stdin.read())
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))
    print("ready", flush=True)
    found = _stopped(order)
    if found is not None:
        print(json.dumps(found), flush=True)


def _stopped(order: dict[str, Any]) -> Any:
    ends = time.monotonic() + order["within_s"]
    row = _rows(order, order["query"])
    if "near" in order:
        near = _rows(order, order["near"])
        while near() is None and time.monotonic() < ends:
            time.sleep(_SLICE_S)
    look = (lambda: _running(order["instances"], row())) if "instances" in order else row
    return _sliced(order["pid"], look, ends)


def _sliced(pid: int, look: Callable[[], Any], ends: float) -> Any:
    known: set[str] = set()
    while time.monotonic() < ends:
        os.kill(pid, signal.SIGSTOP)
        known |= _favoured(pid, known)
        while not _is_stopped(pid):
            time.sleep(_SLICE_S / 10)
        found = look()
        if found is not None:
            return found
        os.kill(pid, signal.SIGCONT)
        time.sleep(_SLICE_S)
    return None


def _favoured(pid: int, known: set[str]) -> set[str]:
    """Its new threads come before all others from now on: else its slices go by while they wait for their turns."""
    new = set(os.listdir(f"/proc/{pid}/task")) - known
    for thread in new:
        with contextlib.suppress(OSError, AttributeError):
            os.sched_setscheduler(int(thread), os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(_PRIORITY // 2))
    return new


def _is_stopped(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] in "TtZ"


def _rows(order: dict[str, Any], query: str) -> Callable[[], Any]:
    """What looks for the first row of a query, and gives its first column."""
    database = sqlite3.connect(f"file:{order['file']}?mode=ro", uri=True, timeout=0)

    def look() -> Any:
        try:
            row = database.execute(query, order["arguments"]).fetchone()
        except sqlite3.OperationalError:  # locked
            return None
        return row[0] if row else None

    return look


def _running(instances: str, instance: str | None) -> str | None:
    """The instance, if its process runs. Where its directory is there, its process may be about to come: it gets a
    moment.
    """
    ends = time.monotonic() + _APPEARS_S
    while instance and Path(instances, instance).exists() and time.monotonic() < ends:
        if _runs(f"{instances}/{instance}/".encode()):
            return instance
        time.sleep(10 * _SLICE_S)
    return None


def _runs(home: bytes) -> bool:
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and home in (entry / "cmdline").read_bytes():
                return True
    return False


if __name__ == "__main__":
    main()
