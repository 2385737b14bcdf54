"""Becomes the unprivileged user of a build, limits itself, and turns into the command.

    python -I -S launcher.py run '{"uid": 190001, "limits": {"NOFILE": 4096}, "network": false}' command argument...
    python -I -S launcher.py end '{"uid": 190001}'        # kills whatever that user still runs

A program of its own, run by path: nothing of the mesh is imported into it, and no thread of the mesh is forked.
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000


def become(uid: int | None) -> None:
    """Give up root for good, where a uid is given."""
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)


def leave_network(libc: ctypes.CDLL) -> None:
    """Go into a network namespace of our own, which reaches nothing; where the kernel does not let us, stay."""
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        libc.unshare(_CLONE_NEWNET)
        return
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return
    for name, line in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with contextlib.suppress(OSError), open(f"/proc/self/{name}", "w") as file:  # noqa: PTH123 -- starts faster
            file.write(line)


def run(spec: dict[str, object], argv: list[str]) -> None:
    """Never returns: becomes `argv`, or ends with 126 (cannot) or 127 (no such program)."""
    limits = spec.get("limits")
    for name, value in (limits if isinstance(limits, dict) else {}).items():
        number = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(number)[1]
        limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
        above = 5 if name == "CPU" else 0  # at the soft one comes SIGXCPU, which says why; at the hard one SIGKILL
        resource.setrlimit(number, (limit, limit + above if hard == resource.RLIM_INFINITY else limit))
    libc = ctypes.CDLL(None, use_errno=True)
    if spec.get("network") is False:
        leave_network(libc)
    uid = spec.get("uid")
    become(uid if isinstance(uid, int) else None)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # after the change of user, which clears it
    parent = spec.get("parent")
    if isinstance(parent, int) and os.getppid() != parent:
        sys.exit(126)
    os.umask(0o022)
    try:
        os.execvpe(argv[0], argv, os.environ)  # noqa: S606 -- no shell is wanted
    except FileNotFoundError:
        print(f"{argv[0]}: no such program", flush=True)
        os._exit(127)
    except OSError as error:
        print(f"{argv[0]}: {error.strerror}", flush=True)
        os._exit(126)


def end(spec: dict[str, object]) -> None:
    """Kill every process of the user at once: none can fork its way out."""
    uid = spec.get("uid")
    if not isinstance(uid, int) or uid <= 0 or os.getuid() != 0:
        raise SystemExit("end needs root and the uid of a build")
    become(uid)
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    if sys.argv[1] == "end":
        end(json.loads(sys.argv[2]))
    else:
        run(json.loads(sys.argv[2]), sys.argv[3:])
