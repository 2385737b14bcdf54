"""Waits for the ends of processes, own children and adopted ones alike, without polling: by pidfd."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field

from deploy_svc.ports import Exit
from deploy_svc.process.proc import ProcessId, boot_id, exists, is_running
from deploy_svc.process.records import Record


@dataclass(eq=False, slots=True)
class Child:
    """A process that is watched. `exit_hint` says why it was killed, where its own exit code would not."""

    record: Record
    exit: Exit | None = None
    exit_hint: Exit | None = None
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    pidfd: int = -1


class Children:
    """The processes that are watched, by instance. `changed` is called when one has ended."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._children: dict[str, Child] = {}

    def get(self, instance: str) -> Child | None:
        """The child of an instance, running or ended."""
        return self._children.get(instance)

    def all(self) -> dict[str, Child]:
        """All children by instance, ended ones until they are forgotten."""
        return dict(self._children)

    def watch(self, record: Record) -> Child:
        """Watch a process that was just started."""
        child = Child(record)
        self._children[record.instance] = child
        try:
            child.pidfd = os.pidfd_open(record.process.pid)
        except OSError:
            self._ended(child)
        else:
            asyncio.get_running_loop().add_reader(child.pidfd, self._ended, child)
        return child

    def adopt(self, record: Record) -> Child:
        """Watch a process that somebody else started, if it is that very one and still runs."""
        if record.boot == boot_id() and is_running(record.process):
            child = self.watch(record)
            if is_running(record.process):  # else the pid was given to another one before it was opened
                return child
            self._ended(child)
            return child
        child = Child(record, exit=Exit())
        child.gone.set()
        self._children[record.instance] = child
        return child

    def forget(self, instance: str) -> None:
        """Stop watching."""
        child = self._children.pop(instance, None)
        if child is not None:
            self._close(child)

    async def end(self, child: Child, grace_s: float, kill_s: float) -> None:
        """SIGTERM to the process group; SIGKILL after the grace. TimeoutError if not even that ends it."""
        if child.exit is None and grace_s > 0:
            signal_group(child.record.process, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await child.gone.wait()
        if child.exit is None:
            signal_group(child.record.process, signal.SIGKILL)
            async with asyncio.timeout(kill_s):
                await child.gone.wait()

    def kill(self, process: ProcessId) -> None:
        """SIGKILL to the process group."""
        signal_group(process, signal.SIGKILL)

    def _ended(self, child: Child) -> None:
        if child.exit is not None:
            return
        process = child.record.process
        if exists(process):  # not reaped yet, so its group's number is not another's: what it left there ends
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        own = _reap(process.pid)
        child.exit = child.exit_hint or own
        self._close(child)
        child.gone.set()
        self._changed()

    def _close(self, child: Child) -> None:
        if child.pidfd >= 0:
            with contextlib.suppress(RuntimeError):
                asyncio.get_running_loop().remove_reader(child.pidfd)
            os.close(child.pidfd)
            child.pidfd = -1


def signal_group(process: ProcessId, number: int) -> None:
    """Send a signal to the group that the process leads, if it is still that process."""
    if not is_running(process):
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, number)
        else:
            os.kill(process.pid, number)


def _reap(pid: int) -> Exit:
    """How our child ended; for a process that is not our child, nobody knows."""
    try:
        reaped, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return Exit()
    if reaped == 0:
        return Exit()
    code = os.waitstatus_to_exitcode(status)
    return Exit(code=code) if code >= 0 else Exit(signal=-code)
