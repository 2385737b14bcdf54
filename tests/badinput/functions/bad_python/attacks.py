"""Attacks on its server, its neighbours and the mesh."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import socket
import stat
import subprocess
import time


def do_close_all():
    os.closerange(0, 4096)
    return "closed"


def do_garbage_on_sockets(text="garbage"):
    """Writes to every socket that this process holds, its own listener and other requests' connections too."""
    for fd in sockets():
        with contextlib.suppress(OSError):
            os.write(fd, text.encode().decode("unicode_escape").encode("latin-1"))
    time.sleep(0.2)
    return "written"


def do_claim_not_started():
    text = "HTTP/1.1 503 No\\r\\nx-fn-not-started: 1\\r\\ncontent-length: 0\\r\\n\\r\\n"
    for fd in sockets():
        with contextlib.suppress(OSError):
            os.write(fd, text.encode().decode("unicode_escape").encode())
    time.sleep(3600)


def do_own_socket(target=""):
    """Takes the place of its own socket: with a link, or with nothing."""
    path = os.path.join(os.environ["HOME"], "s")
    os.unlink(path)
    if target:
        os.symlink(target, path)
    return "replaced"


def sockets():
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                found.append(int(name))
    return found


def do_look(paths):
    """What of these paths it can read, list or connect to."""
    seen = {}
    for path in json.loads(paths):
        try:
            if stat.S_ISSOCK(os.stat(path).st_mode):
                with socket.socket(socket.AF_UNIX) as one:
                    one.connect(path)
                seen[path] = "connected"
            elif os.path.isdir(path):
                seen[path] = f"listed {len(os.listdir(path))}"
            else:
                with open(path, "rb") as file:
                    seen[path] = f"read {len(file.read(100))}"
        except OSError as error:
            seen[path] = error.strerror
    return seen


def do_trace(pid):
    """Whether it may trace a process, and read its memory and environment."""
    libc = ctypes.CDLL(None, use_errno=True)
    attached = libc.ptrace(16, int(pid), 0, 0) == 0  # PTRACE_ATTACH
    seen = {"attached": attached}
    for name in ("environ", "mem", "maps"):
        try:
            with open(f"/proc/{pid}/{name}", "rb") as file:
                file.read(1)
            seen[name] = "read"
        except OSError as error:
            seen[name] = error.strerror
    return seen


def do_limits():
    names = ("RLIMIT_CORE", "RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_DATA", "RLIMIT_FSIZE")
    return {name: resource.getrlimit(getattr(resource, name)) for name in names}


def do_become_root():
    tried = {}
    for name, call in (
        ("setuid", lambda: os.setuid(0)),
        ("raise limit", lambda: resource.setrlimit(resource.RLIMIT_NPROC, (100_000, 100_000))),
        ("su", lambda: subprocess.run(["su", "-c", "id"], check=True, capture_output=True, timeout=5)),
        ("nice", lambda: os.setpriority(os.PRIO_PROCESS, 0, -20)),
    ):
        try:
            call()
            tried[name] = "done"
        except Exception as error:
            tried[name] = type(error).__name__
    return tried


def do_reach(port):
    """Whether it gets to a port of the host: by loopback, and by the router of its network."""
    hosts = ["127.0.0.1"]
    with open("/proc/net/route") as routes:
        rows = [row.split() for row in routes.readlines()[1:]]
    hosts += [socket.inet_ntoa(bytes.fromhex(row[2])[::-1]) for row in rows if row[1] == "00000000"]
    seen = {}
    for host in hosts:
        try:
            socket.create_connection((host, int(port)), 2).close()
            seen[host] = "connected"
        except OSError as error:
            seen[host] = type(error).__name__
    return seen


def do_write_everywhere():
    written = []
    for directory in ("/", "/app", "/etc", "/opt/fnmesh", "/usr/lib", "/tmp", "/dev/shm"):
        with contextlib.suppress(OSError):
            with open(os.path.join(directory, "mine"), "w") as file:
                file.write("x")
            written.append(directory)
    return written
