"""Processes of launcher.py: one becomes each workload, and one waits ahead of the next.

The start of an interpreter is a quarter of what the start of a small workload takes, and it needs nothing that is
known only then; so one launcher is kept ready. It waits for its order on a pipe, and ends by itself when the pipe's
other end is gone, this process included. Several starts at once share no luck: all but the first wait for a launcher
of their own.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

LAUNCHER = Path(__file__).parent.parent / "launcher.py"
SPARE = "spare"
_LOADER_VARIABLES = ("LD_LIBRARY_PATH",)  # the mesh's interpreter may need it
_PIPE_BYTES = 64 * 1024  # what a pipe takes at least without anybody reading
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND


class Launchers:
    """Starts workloads. Calls block, and may come from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spare: tuple[int, int] | None = None  # its pid, and the writing end of its pipe

    @property
    def spare_pid(self) -> int | None:
        """The launcher that waits."""
        return self._spare[0] if self._spare else None

    def launch(self, name: str, order: Mapping[str, object], output: Path) -> int:
        """Has a launcher become the workload that `order` describes (see launcher.py); returns its pid.

        `name` tells people whose process it is until then; the output goes to a file. Raises OSError.
        """
        told = marshal.dumps({**order, "output": str(output)})
        os.close(os.open(output, _APPEND | os.O_CLOEXEC, 0o600))  # here: it may be read before the launcher opens it
        with self._lock:
            spare, self._spare = self._spare, None
        if spare is not None:
            pid, pipe = spare
            if _tell(pipe, told):
                return pid
            _end(pid)
        return _start(name, _in_memory(marshal.dumps(dict(order))), output)

    def prepare(self) -> None:
        """Makes a spare launcher, unless there is one. Raises OSError."""
        with self._lock:
            if self._spare is not None and _runs(self._spare[0]):
                return
            self._drop()
            reading, writing = os.pipe()
            try:
                self._spare = (_start(SPARE, reading, Path(os.devnull)), writing)
            except BaseException:
                os.close(writing)
                raise

    def close(self) -> None:
        """Ends the spare launcher."""
        with self._lock:
            spare = self._spare
            self._drop()
        if spare is not None:
            _end(spare[0])

    def _drop(self) -> None:
        if self._spare is not None:
            os.close(self._spare[1])
            self._spare = None


def name_of(words: Sequence[str]) -> str:
    """The name of the workload that a command line's launcher is about to become; empty where it is none."""
    return words[-1] if str(LAUNCHER) in words else ""


def _tell(pipe: int, order: bytes) -> bool:
    """Writes the order and closes the pipe; whether somebody reads it."""
    try:
        return len(order) <= _PIPE_BYTES and os.write(pipe, order) == len(order)
    except BrokenPipeError:
        return False
    finally:
        os.close(pipe)


def _runs(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == 0
    except ChildProcessError:
        return False


def _end(pid: int) -> None:
    """Waits for a launcher that will get no order."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _in_memory(told: bytes) -> int:
    """The order as a file in memory: nothing of it on a command line, and no pipe that could fill."""
    fd = os.memfd_create("order")
    with open(fd, "wb", closefd=False) as file:
        file.write(told)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _start(name: str, order: int, output: Path) -> int:
    """Starts a launcher that reads its order from a descriptor, which is closed here."""
    try:
        return os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", str(LAUNCHER), name],
            {name: os.environ[name] for name in _LOADER_VARIABLES if name in os.environ},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, order, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(output), _APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP],
            setsigmask=[],
        )
    finally:
        os.close(order)
