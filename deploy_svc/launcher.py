"""Becomes a workload: takes away what it must not have, then replaces itself with it.

    python -I -S launcher.py NAME        # NAME only tells people (and a search) whose process this is

Reads one marshalled dictionary from standard input, so that no value of the environment is ever on a command
line: `argv`, `env`, `cwd`, `limits` (name of RLIMIT_* -> value), `user` (a uid to become, or None), and `stdin` (a
file) where that shall not be empty. Standard output and error are inherited, or go to the file `output` where the
order names one. Exit code 126 and one line on standard error say what could not be done; without an order it ends.
Imports as little as it can, and before it has its order: it is a part of every cold start.
"""

import marshal
import os
import resource
import sys

if sys.platform == "linux":
    import ctypes  # now, since a workload's user may not be able to read the library

_PR_SET_NO_NEW_PRIVS = 38
_OOM_SCORE = "500"  # under memory pressure workloads go before the mesh


def _confine(user: int | None, limits: dict[str, int]) -> None:
    os.umask(0o077)
    try:
        with open("/proc/self/oom_score_adj", "w") as score:  # noqa: PTH123 -- pathlib costs 10 ms
            score.write(_OOM_SCORE)
    except OSError:
        pass
    for name, value in limits.items():
        which = getattr(resource, name)
        hard = resource.getrlimit(which)[1]
        if hard != resource.RLIM_INFINITY and os.getuid() != 0:
            value = min(value, hard)
        resource.setrlimit(which, (value, value))
    prctl = None
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None, use_errno=True).prctl
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    if prctl is not None and prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(0, "no_new_privs was refused")


def main() -> None:
    """Confine this process and become the workload."""
    order = sys.stdin.buffer.read()
    if not order:
        return
    spec = marshal.loads(order)  # noqa: S302 -- written by our own parent
    try:
        if os.getsid(0) != os.getpid():
            os.setsid()
        if "output" in spec:
            output = os.open(spec["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(output, 1)
            os.dup2(output, 2)
        os.dup2(os.open(spec.get("stdin", os.devnull), os.O_RDONLY), 0)
        os.closerange(3, max(1024, resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
        _confine(spec["user"], spec["limits"])
        os.chdir(spec["cwd"])
        os.execve(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606 -- no shell is the point
    except OSError as error:
        sys.stderr.write(f"The workload could not be started: {error}\n")
        sys.stderr.flush()
        os._exit(126)


if __name__ == "__main__":
    main()
