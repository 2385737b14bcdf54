"""Starts a program that dies with its parent: `python -I -S launcher.py PARENT_PID PROGRAM ARG...`.

Run as a script by `up` for each child; the mark set here survives exec. Imports the least there is, since it
runs before every service.
"""

import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    parent, program = int(argv[0]), argv[1:]
    die_with(parent)
    os.execv(program[0], program)  # noqa: S606 -- the arguments are `up`'s own


def die_with(parent: int) -> None:
    """Marks this process to be killed when its parent ends."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the mark was set
        os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
