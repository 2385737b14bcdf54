"""Ends of the process, of its parent or of all others."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time


def do_os_exit(code="3"):
    os._exit(int(code))


def do_signal(number):
    os.kill(os.getpid(), int(number))
    time.sleep(60)


def do_kill_parent():
    try:
        os.kill(os.getppid(), signal.SIGKILL)
    except PermissionError as error:
        return f"refused: {error.strerror}"
    return "sent"


def do_kill_all():
    os.kill(-1, signal.SIGKILL)
    return "sent"


def do_kill_group():
    os.killpg(0, signal.SIGKILL)


def do_recurse():
    return do_recurse()


def do_overflow_stack():
    """Overflows the stack of C: the interpreter's own limit is out of the way, and each call goes through C."""
    sys.setrecursionlimit(1 << 30)

    class Deep:
        def __repr__(self):
            return f"{self!r}"

    return repr(Deep())


def do_null():
    return ctypes.string_at(0)
