"""Who still uses a shared server: it is stopped by the last run that leaves, not by the first."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support import processes

KEPT = "kept"


class Leases:
    """Files in a directory, one for each test run (pid and start time); those of dead runs do not count.

    Call with the server's lock held.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def take(self, pid: int) -> None:
        """Note that the run of process `pid` uses the server."""
        self._directory.mkdir(parents=True, exist_ok=True)
        (self._directory / self._name(pid)).touch()

    def keep(self) -> None:
        """Note that the server was started by hand: no run's end stops it."""
        self._directory.mkdir(parents=True, exist_ok=True)
        (self._directory / KEPT).touch()

    def drop(self, pid: int) -> bool:
        """Give back the run's lease; whether it had one and was the last user."""
        mine = self._directory / self._name(pid)
        if not mine.exists():
            return False
        mine.unlink()
        return not self._in_use()

    def clear(self) -> None:
        """Forget everybody: the server is being stopped by hand."""
        if self._directory.exists():
            for lease in self._directory.iterdir():
                lease.unlink()

    def _in_use(self) -> bool:
        for lease in self._directory.iterdir():
            if lease.name == KEPT:
                return True
            if lease.name == self._name(int(lease.name.partition(".")[0])):
                return True
            lease.unlink()
        return False

    @staticmethod
    def _name(pid: int) -> str:
        return f"{pid}.{processes.start_ticks(pid) if processes.is_running(pid) else 'ended'}"


def run_pid() -> int:
    """The process a test run stands and falls with: the xdist controller, also when asked by a worker."""
    return int(os.environ.get("FNMESH_TEST_RUN", os.getpid()))
