"""Runs componentize-py so that the same code makes the same component, byte for byte.

The component is a picture of the memory of a Python that has imported the code. Three things of the machine get into
it: random numbers (the seed of hashes), times, and what files are known by (their numbers and times). Here

- `getrandom` and `statx` are answered by a process beside it (seccomp's user notification), always in the same way:
  numbers that follow from `seed`, files numbered in the order they are looked at, all times 0;
- the clock stands still: what componentize-py calls for the time of day is told the clock's resolution instead.

Where the kernel or the processor does not let us, it runs as it is, and two components of the same code differ. Run
as part of `run_tool.py`: the standard library only.
"""

import array
import contextlib
import ctypes
import fcntl
import hashlib
import os
import platform
import select
import signal
import socket
import stat
import struct
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_ARCHITECTURES = {
    "x86_64": {"audit": 0xC000003E, "seccomp": 317, "getrandom": 318, "statx": 332},
    "aarch64": {"audit": 0xC00000B7, "seccomp": 277, "getrandom": 278, "statx": 291},
}
_SET_MODE_FILTER, _NEW_LISTENER = 1, 8
_NOTIFY, _ALLOW = 0x7FC00000, 0x7FFF0000
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_CONTINUE = 1
_NOTICE = struct.Struct("=QIIiIQ6Q")
_ANSWER = struct.Struct("=Qqii")
_STATX = struct.Struct("=IIQIIIHHQQQQ" + "qIi" * 4 + "IIII" + "112x")
_BASIC_STATS = 0x7FF
_AT_FDCWD, _AT_SYMLINK_NOFOLLOW, _AT_EMPTY_PATH = -100, 0x100, 0x1000
_PATH_MAX = 4096
_DT_STRTAB, _DT_SYMTAB, _DT_RELA, _DT_RELASZ, _DT_JMPREL, _DT_PLTRELSZ = 5, 6, 7, 8, 23, 2
_PT_DYNAMIC = 2


def run(program: Callable[[], None], library: str, seed: str) -> None:
    """Call `program`, which uses the shared `library`; ends this process as it ends. Returns where that cannot be."""
    numbers = _ARCHITECTURES.get(platform.machine())
    if numbers is None:
        return
    ours, its = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        _be_child(program, library, numbers, its)
    its.close()
    try:
        _, received, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(4))
    except OSError:
        received = []
    if received:
        (listener,) = array.array("i", received[0][2][:4])
        _Answers(listener, numbers, seed).serve()
    _end_like(child)


def _be_child(program: Callable[[], None], library: str, numbers: dict[str, int], parent: socket.socket) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    with contextlib.suppress(OSError, ValueError, StopIteration):
        stop_clock(library, libc)
    listener = _filter(libc, numbers)
    if listener >= 0:
        parent.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener]))])
        os.close(listener)
    parent.close()
    status = 1
    try:
        program()
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    finally:
        sys.stdout.flush()
        os._exit(status)


def _end_like(child: int) -> None:
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), -code)
    os._exit(code)


def _filter(libc: ctypes.CDLL, numbers: dict[str, int]) -> int:
    """From now on the two calls wait for an answer; returns where they are answered, -1 where that cannot be."""
    load, equals, give = 0x20, 0x15, 0x06
    program = [
        (load, 0, 0, 4),
        (equals, 0, 4, numbers["audit"]),
        (load, 0, 0, 0),
        (equals, 1, 0, numbers["getrandom"]),
        (equals, 0, 1, numbers["statx"]),
        (give, 0, 0, _NOTIFY),
        (give, 0, 0, _ALLOW),
    ]
    instructions = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in program))
    head = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(instructions)))
    return int(libc.syscall(numbers["seccomp"], _SET_MODE_FILTER, _NEW_LISTENER, ctypes.byref(head)))


class _Answers:
    """Answers the calls of one process, each in the same way whenever it is asked."""

    def __init__(self, listener: int, numbers: dict[str, int], seed: str) -> None:
        self._listener = listener
        self._numbers = numbers
        self._seed = seed.encode()
        self._files: dict[tuple[int, int], int] = {}

    def serve(self) -> None:
        """Returns when the process has ended."""
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        while True:
            for _, events in poll.poll():
                if events & select.POLLHUP:
                    return
                self._answer_one()

    def _answer_one(self) -> None:
        notice = bytearray(_NOTICE.size)
        try:
            fcntl.ioctl(self._listener, _RECEIVE, notice)
        except OSError:  # who asked is gone
            return
        number, thread, _, call, _, _, *arguments = _NOTICE.unpack(notice)
        value, error, flags = 0, 0, 0
        try:
            memory = os.open(f"/proc/{thread}/mem", os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # the kernel does not let us: it answers itself
            memory, flags = -1, _CONTINUE
        try:
            if memory >= 0 and call == self._numbers["getrandom"]:
                value = self._random(memory, arguments)
            elif memory >= 0:
                self._stat(memory, thread, arguments)
        except OSError as failure:
            error = -(failure.errno or 5)
        finally:
            if memory >= 0:
                os.close(memory)
        with contextlib.suppress(OSError):
            fcntl.ioctl(self._listener, _SEND, _ANSWER.pack(number, value, error, flags))

    def _random(self, memory: int, arguments: list[int]) -> int:
        place, length = arguments[0], min(arguments[1], 1 << 20)
        os.pwrite(memory, hashlib.shake_128(self._seed).digest(length), place)
        return length

    def _stat(self, memory: int, thread: int, arguments: list[int]) -> None:
        directory = ctypes.c_int(arguments[0] & 0xFFFFFFFF).value
        flags, place = arguments[2], arguments[4]
        path = os.pread(memory, _PATH_MAX, arguments[1]).partition(b"\0")[0] if arguments[1] else b""
        if path.startswith(b"/"):
            target = path
        elif directory == _AT_FDCWD:
            target = b"/proc/%d/cwd/%s" % (thread, path)
        elif path or flags & _AT_EMPTY_PATH:
            target = b"/proc/%d/fd/%d%s" % (thread, directory, b"/" + path if path else b"")
        else:
            raise FileNotFoundError(2, "no path")
        follow = not (flags & _AT_SYMLINK_NOFOLLOW and path)
        found = os.stat(target, follow_symlinks=follow)  # noqa: PTH116 -- the path is bytes
        os.pwrite(memory, self._shown(found), place)

    def _shown(self, found: os.stat_result) -> bytes:
        file = self._files.setdefault((found.st_dev, found.st_ino), len(self._files) + 1)
        size = 0 if stat.S_ISDIR(found.st_mode) else found.st_size
        links = 2 if stat.S_ISDIR(found.st_mode) else found.st_nlink
        blocks = (size + 511) // 512
        return _STATX.pack(
            *(_BASIC_STATS, 4096, 0, links, 0, 0, found.st_mode, 0, file, size, blocks, 0),
            *((0, 0, 0) * 4),
            *(os.major(found.st_rdev), os.minor(found.st_rdev), 0, 1),
        )


def stop_clock(library: str, libc: ctypes.CDLL) -> None:
    """Have the loaded shared `library` call clock_getres where it would call clock_gettime: the same arguments, and an
    answer that never changes (0 s and the resolution). The rest of the process keeps its clock."""
    library = os.path.realpath(library)  # as the kernel names it
    base = next(
        int(line.split("-")[0], 16)
        for line in _lines("/proc/self/maps")
        if line.rstrip().endswith(library) and line.split()[2] == "00000000"
    )
    still = ctypes.cast(libc.clock_getres, ctypes.c_void_p).value
    for slot in _slots(base, b"clock_gettime"):
        page = os.sysconf("SC_PAGE_SIZE")
        start = slot - slot % page
        if libc.mprotect(ctypes.c_void_p(start), ctypes.c_size_t(page), 3) != 0:
            raise OSError(ctypes.get_errno(), "mprotect")
        ctypes.memmove(slot, struct.pack("@P", still), struct.calcsize("P"))


def _lines(path: str) -> list[str]:
    with open(path) as file:  # noqa: PTH123 -- starts faster
        return file.readlines()


def _slots(base: int, wanted: bytes) -> list[int]:
    """Where a loaded ELF library of 64 bits keeps the addresses of an imported function."""
    head = ctypes.string_at(base, 64)
    offset, size, count = struct.unpack_from("=Q", head, 32)[0], *struct.unpack_from("=HH", head, 54)
    tags: dict[int, int] = {}
    for index in range(count):
        kind, _, _, address, _, _, length, _ = struct.unpack(
            "=IIQQQQQQ", ctypes.string_at(base + offset + size * index, 56)
        )
        if kind == _PT_DYNAMIC:
            entries = ctypes.string_at(base + address, length)
            tags = dict(struct.iter_unpack("=QQ", entries[: length - length % 16]))
    absolute = {tag: value if value >= base else base + value for tag, value in tags.items()}
    found = []
    for table, length_tag in ((_DT_JMPREL, _DT_PLTRELSZ), (_DT_RELA, _DT_RELASZ)):
        if table not in tags:
            continue
        entries = ctypes.string_at(absolute[table], tags[length_tag])
        for place, kind, _ in struct.iter_unpack("=QQq", entries):
            symbol = kind >> 32
            if not symbol:
                continue
            (name,) = struct.unpack("=I", ctypes.string_at(absolute[_DT_SYMTAB] + 24 * symbol, 4))
            if ctypes.string_at(absolute[_DT_STRTAB] + name) == wanted:
                found.append(base + place)
    return found
