"""Handlers that misbehave on purpose, one for each `?do=`; without it a good answer. Run by the tests beside it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time

kept: list[object] = []
MIB = 1 << 20


def handler(event, context):
    """Answers who it is, or does what `do` says."""
    query = event.get("queryStringParameters") or {}
    what = query.pop("do", "")
    if what:
        return globals()[f"do_{what}"](**query)
    return {"pid": os.getpid()}


async def async_handler(event, context):
    """The same on the event loop."""
    query = event.get("queryStringParameters") or {}
    what = query.pop("do", "")
    if what:
        return await globals()[f"async_{what}"](**query)
    return {"pid": os.getpid()}


# --- answers that are none ---


def do_raise():
    print("before it fails")
    raise ValueError("the secret of the cellar")


def do_exit():
    sys.exit("leaving")


def do_set():
    return {1, 2}


def do_nan():
    return {"x": float("nan")}


def do_circular():
    one = {}
    one["self"] = one
    return one


def do_deep():
    one = []
    for _ in range(100_000):
        one = [one]
    return one


def do_surrogate():
    return "\ud800"


def do_odd_text():
    class Odd(Exception):
        def __str__(self):
            raise RuntimeError("no text")

    raise Odd


def do_large(mib):
    return {"statusCode": 200, "body": b"x" * (int(mib) * MIB)}


def do_large_json(mib):
    return "x" * (int(mib) * MIB)


def do_headers(count="1", size="1", text="v"):
    return {"statusCode": 200, "headers": {f"x-h{n}": text * int(size) for n in range(int(count))}, "body": "ok"}


def do_header(name, value):
    return {"statusCode": 200, "headers": {name: value}, "body": "ok"}


# --- output ---


def do_print(mib, line="1023"):
    text = "y" * int(line)
    for _ in range(int(mib) * MIB // (len(text) + 1)):
        print(text)
    return "printed"


def do_print_once(mib):
    print("z" * (int(mib) * MIB))
    return "printed"


def do_write_raw(mib, text="r"):
    for _ in range(int(mib)):
        os.write(1, text.encode().decode("unicode_escape").encode() * MIB)
    return "written"


def do_forge_frames():
    for frame in (
        b'\x1e{"t":253402300799,"s":"system","m":"from the future","trace":"' + b"f" * 32 + b'","req":"x"}\n',
        b'\x1e{"t":-62135596800,"s":"stdout","m":"from the past"}\n',
        b'\x1e{"t":1e999,"m":1}\n\x1e{"t":NaN,"m":"nan"}\n\x1e[[[\n\x1e' + b"[" * 100_000 + b"\n",
        b"\0\xff\xfe\x1b]0;title\x07 garbage\n\x1e\x1e\x1e\n",
    ):
        os.write(1, frame)
    os.truncate(1, 0) if stat.S_ISREG(os.fstat(1).st_mode) else None
    return "forged"


def do_sparse_log():
    os.ftruncate(1, 3 << 30)
    return "grown"


def do_close_output():
    os.close(1)
    os.close(2)
    print("nobody hears this")
    return "closed"


# --- ends ---


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


# --- never ---


def do_sleep(seconds="3600"):
    time.sleep(float(seconds))


def do_spin():
    while True:
        pass


async def async_never():
    await asyncio.Event().wait()


async def async_refuse_to_end():
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)


async def async_block_loop():
    time.sleep(3600)  # noqa: ASYNC251 -- the mistake that is tested


async def async_cancel_all():
    for task in asyncio.all_tasks():
        task.cancel()
    await asyncio.sleep(0)


async def async_stop_loop():
    asyncio.get_running_loop().stop()
    await asyncio.sleep(3600)


async def async_raise():
    raise KeyError("async")


async def async_base_exception():
    raise KeyboardInterrupt


# --- too much ---


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


# --- attacks ---


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
