"""Forks services: `python -m cli.up.nursery SOCKET_FD UP_PID MODULE...`, run by `up` until all have started.

Most of a service's start is importing what it is made of, and most of that is the same for all of them: imported
here once, it takes half the CPU, and its memory is shared. `up` asks by the messages of `cli.up.forked`.

Each service is forked twice, so that it is `up`'s own child, and waits until `up` knows it. A thread must not be there
before a fork, so modules start none when they are imported.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from cli.up import launcher

_MESSAGE_BYTES = 4096
GO = b"!"


def main(arguments: Sequence[str]) -> None:
    """Returns when `up` has closed the socket, or it is time to be the service that was asked for."""
    fd, up, *modules = arguments
    launcher.die_with(int(up))
    gc.disable()  # as the services do; what it looks at would be shared no longer
    with socket.socket(fileno=int(fd)) as asks:
        command = _serve(asks, int(up), modules)
    if command:
        sys.argv = command[2:]
        runpy.run_module(command[2], run_name="__main__", alter_sys=True)


def _serve(asks: socket.socket, up: int, modules: list[str]) -> list[str]:
    """Returns in each service with its command line, and here at the end with an empty one."""
    while True:
        while modules and not select.select([asks], [], [], 0)[0]:
            importlib.import_module(modules.pop(0))
        request, logs, _, _ = socket.recv_fds(asks, _MESSAGE_BYTES, 1)
        if not request:
            return []
        (log,) = logs
        command: list[str] = json.loads(request)
        _import_for(command[2])
        waits, goes = os.pipe()
        pid = _fork_twice()
        if pid == 0:
            os.close(goes)
            _become(command, up, log, waits)
            return command
        os.close(waits)
        os.close(log)
        asks.send(json.dumps({"pid": pid}).encode())
        if asks.recv(_MESSAGE_BYTES) == GO:
            os.write(goes, GO)
        os.close(goes)


def _import_for(service: str) -> None:
    """All that running the service imports; its own module is run in the service."""
    importlib.import_module(f"{service}.__main__")
    del sys.modules[f"{service}.__main__"]


def _fork_twice() -> int:
    """0 in the grandchild, whose parent is whoever takes in the orphans of this process; here its pid."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        pid = os.fork()
        if pid == 0:
            os.close(read)
            os.close(write)
            return 0
        os.write(write, str(pid).encode())
        os._exit(0)
    os.close(write)
    pid = int(os.read(read, 32) or b"0")
    os.close(read)
    os.waitpid(child, 0)  # after which the grandchild is an orphan for certain
    if pid == 0:
        raise OSError("there is no memory for another process")
    return pid


def _become(command: list[str], up: int, log: int, waits: int) -> None:
    """Makes a forked process what `launcher` and exec would have made of it, once it is told to go."""
    if os.read(waits, 1) != GO:
        os._exit(1)
    os.setsid()
    launcher.die_with(up)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    for descriptor in (null, log, waits):
        os.close(descriptor)
    _show_as(command)


def _show_as(command: list[str]) -> None:
    """Has the kernel show this command line, where it fits in place of that of the process that forked."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])  # arg_start and arg_end of proc_pid_stat(5)
    shown = b"".join(os.fsencode(word) + b"\0" for word in command)
    if start > 0 and len(shown) <= end - start:
        ctypes.memmove(start, shown.ljust(end - start, b"\0"), end - start)


if __name__ == "__main__":
    main(sys.argv[1:])
