"""Too much of everything: processes, threads, files, memory, disk."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time

kept: list[object] = []
MIB = 1 << 20


def do_fork(count):
    """Forks children that sleep, until that fails."""
    for made in range(int(count)):
        try:
            pid = os.fork()
        except OSError as error:
            return {"made": made, "error": error.strerror}
        if pid == 0:
            time.sleep(3600)
            os._exit(0)
    return {"made": int(count), "error": ""}


def do_threads(count):
    import threading

    for made in range(int(count)):
        thread = threading.Thread(target=time.sleep, args=(3600,), daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            return {"made": made, "error": str(error)}
    return {"made": int(count), "error": ""}


def do_open(count):
    """Opens files and keeps them."""
    for made in range(int(count)):
        try:
            kept.append(open("/dev/null"))  # noqa: SIM115
        except OSError as error:
            return {"made": made, "error": error.strerror}
    return {"made": int(count), "error": ""}


def do_eat(mib, hold="3600"):
    """Uses that much memory, page by page, and keeps it for a while."""
    block = bytearray()
    for _ in range(int(mib)):
        block += b"m" * MIB
    kept.append(block)
    time.sleep(float(hold))
    return {"mib": len(block) // MIB}


def do_eat_at_once(mib):
    return len(bytes(int(mib) * MIB))


def do_eat_in_daemon(mib):
    """The same in a process that has left parent, group and session."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            with contextlib.suppress(BaseException):
                do_eat(mib)
        os._exit(0)
    os.wait()
    return "left"


def do_daemon(marker):
    """Leaves a process behind that has left parent, group, session and environment."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            code = f"import time; {marker!r}; time.sleep(3600)"
            os.execve(sys.executable, [sys.executable, "-c", code], {})
        os._exit(0)
    os.wait()
    return "left"


def do_fork_chain(marker):
    """A process that goes on under another pid each millisecond."""
    if os.fork() == 0:
        os.setsid()
        while True:
            with contextlib.suppress(OSError):
                if os.fork():
                    os._exit(0)
            time.sleep(0.001)
    return "left"


def do_fill(mib, name="fill"):
    with open(os.path.join(tempfile.gettempdir(), name), "wb") as file:
        for _ in range(int(mib)):
            file.write(b"f" * MIB)
    return "filled"


def do_nest(depth):
    """Directories in directories, deeper than any path may be long."""
    os.chdir(tempfile.gettempdir())
    made = 0
    for made in range(int(depth)):
        try:
            os.mkdir("d")
            os.chdir("d")
        except OSError as error:
            return {"made": made, "error": error.strerror}
    return {"made": made + 1, "error": ""}
