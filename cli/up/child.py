"""One child process of `up`: started, its output kept, its end noticed, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cli.up.forked import Forked, Nursery

LAUNCHER = Path(__file__).with_name("launcher.py")
LOG_BYTES = 10 * 1024 * 1024
_TAIL_BYTES = 16 * 1024


class Child:
    """A program that is run as a child, in a session of its own, and dies with this process.

    Output goes to `log_file`, which is kept below LOG_BYTES (one older file beside it).
    """

    def __init__(self, name: str, argv: Sequence[str], environ: Mapping[str, str], log_file: Path) -> None:
        self.name = name
        self._argv = [str(shutil.which(argv[0]) or argv[0]), *argv[1:]]
        self._environ = dict(environ)
        self._log_file = log_file
        self._log_start = 0
        self._process: asyncio.subprocess.Process | Forked | None = None

    @property
    def pid(self) -> int | None:
        """Its process, while it runs."""
        return self._process.pid if self.running and self._process else None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    @property
    def was_started(self) -> bool:
        """Whether it was started at all."""
        return self._process is not None

    async def start(self, nursery: Nursery | None = None) -> None:
        """Starts it (again), forked by `nursery` where that can."""
        descriptor = os.open(self._log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._log_start = os.fstat(descriptor).st_size
            self._process = await nursery.fork(self._argv, descriptor) if nursery is not None else None
            if self._process is None:
                self._process = await self._execute(descriptor)
        finally:
            os.close(descriptor)

    async def _execute(self, log: int) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), *self._argv,
            stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
            env=self._environ, start_new_session=True,
        )  # fmt: skip

    async def wait(self) -> int:
        """Its exit status, once it has ended; negative for a signal."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(
        self,
        patience_s: float,
        hurry: asyncio.Event | None = None,
        *,
        first: signal.Signals = signal.SIGTERM,
    ) -> bool:
        """SIGTERM or another one `first`, then SIGKILL when the time is over or `hurry` is set and a second has passed.

        Whether it ran until then, and has ended without an error.
        """
        if not self.running or self._process is None:
            return False
        self._signal(first)
        if not await self._ends_within(patience_s, hurry or asyncio.Event()):
            self._signal(signal.SIGKILL)
        return await self._process.wait() == 0

    async def _ends_within(self, patience_s: float, hurry: asyncio.Event) -> bool:
        async with asyncio.TaskGroup() as tasks:
            ended = tasks.create_task(self.wait())
            hurried = tasks.create_task(_a_second_after(hurry))
            await asyncio.wait({ended, hurried}, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
            done = ended.done()
            ended.cancel()
            hurried.cancel()
        return done

    def last_words(self) -> str:
        """The line of its output that says best why it ended; empty where there is none."""
        try:
            with self._log_file.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(self._log_start, size - _TAIL_BYTES))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError:
            return ""
        return next((words for line in reversed(lines) if (words := _words(line))), "")

    def rotate(self) -> None:
        """Keeps the log file small: moves what is there to `<name>.log.1` when it has grown too large."""
        with contextlib.suppress(OSError):
            if self._log_file.stat().st_size > LOG_BYTES:
                shutil.copyfile(self._log_file, self._log_file.with_suffix(".log.1"))
                os.truncate(self._log_file, 0)
                self._log_start = 0

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            send_signal(self._process, number)


def send_signal(process: asyncio.subprocess.Process | Forked, number: signal.Signals) -> None:
    """Signals a process unless it has ended.

    Not by `process.send_signal`: that one polls first, and so takes the exit status away from the event loop.
    """
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


async def _a_second_after(event: asyncio.Event) -> None:
    await event.wait()
    await asyncio.sleep(1.0)


def _words(line: str) -> str:
    """What a line of a log says, where it speaks of an error or is plain text; else nothing."""
    line = line.strip()
    try:
        event = json.loads(line)
    except ValueError:
        return line
    if not isinstance(event, dict) or str(event.get("level", "")).lower() not in ("error", "critical"):
        return ""
    return str(event.get("error") or event.get("message") or event.get("event") or "")
