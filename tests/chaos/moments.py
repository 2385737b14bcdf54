"""The worst moments: seen in a service's own tables from outside, or reached with a process that is stopped there."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from tests.chaos import stopper
from tests.support import processes

_LOOK_S = 0.001
_WITHIN_S = 30.0


class MissedError(AssertionError):
    """The moment did not come, or was over before anybody looked."""


class Tables:
    """The SQLite files of a mesh, read by another connection while their service runs, or while it is stopped."""

    def __init__(self, data_dir: Path) -> None:
        self._directory = data_dir / "db"

    def file(self, service: str) -> Path:
        """Where the tables of a service are."""
        return self._directory / f"{service}.db"

    def value(self, service: str, query: str, *arguments: object) -> Any:
        """The first column of the first row, as committed; None where there is none, or nobody can tell now."""
        try:
            with closing(sqlite3.connect(f"file:{self.file(service)}?mode=ro", uri=True, timeout=0)) as file:
                row = file.execute(query, arguments).fetchone()
        except sqlite3.OperationalError:  # locked, or not made yet
            return None
        return row[0] if row else None


async def when(moment: Callable[[], Any], within_s: float = _WITHIN_S) -> Any:
    """Returns as soon as the moment has come, with what it gave. Raises MissedError if it does not come."""
    ends = time.monotonic() + within_s
    while not (found := moment()):
        if time.monotonic() > ends:
            raise MissedError(f"the moment did not come within {within_s:g} s")
        await asyncio.sleep(_LOOK_S)
    return found


@asynccontextmanager
async def stopping(pid: int, **moment: object) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    """From here on the process is watched for the moment (see `stopper`). Gives what waits for it.

    That returns with the process stopped, and raises MissedError if the moment does not come. The process goes
    on when the context is left, unless it was killed.
    """
    watch = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", stopper.__file__,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert watch.stdin is not None
    assert watch.stdout is not None
    stdout = watch.stdout
    watch.stdin.write(json.dumps({"pid": pid, "within_s": _WITHIN_S, **moment}, default=str).encode())
    watch.stdin.close()
    assert await stdout.readline() == b"ready\n"

    async def reached() -> Any:
        told = await stdout.readline()
        if not told:
            raise MissedError(f"the moment did not come within {_WITHIN_S:g} s")
        return json.loads(told)

    try:
        yield reached
    finally:
        if watch.returncode is None:
            watch.send_signal(signal.SIGKILL)
        await watch.wait()
        processes.resume(pid)
