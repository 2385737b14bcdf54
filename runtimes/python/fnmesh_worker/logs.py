"""What the user's code prints, as framed lines that carry the trace of their request.

A frame is the byte 0x1e, compact JSON `{"t": unix seconds, "s": "stdout"|"stderr", "m": line, "trace"?,
"req"?}` and a newline, on the original fd 1 or 2. What subprocesses and C code write to the fds passes
through unframed.

A write blocks while the reader of the pipe is slow, the event loop included: losing lines or buffering them
without a bound would both be worse, and the readers (files, Docker's log driver) keep up.
"""

from __future__ import annotations

import contextvars
import io
import logging
import os
import sys
import threading
import time
from codecs import getincrementaldecoder
from json.encoder import encode_basestring_ascii as quote

LINE_LIMIT_BYTES = 64 * 1024
_CERTAINLY_SHORT_CHARS = LINE_LIMIT_BYTES // 4
_SLICE = 256 * 1024  # text is framed in slices of this size: a handler's 100 MB must not become several times that
_TICK_S = 0.1  # a partial line is let go when it has seen a whole tick: after 100 to 200 ms
_FDS = {"stdout": 1, "stderr": 2}


class Scope:
    """Where printed text belongs: one request, or the process itself. Holds its unfinished lines."""

    __slots__ = ("partial", "suffix", "tick")

    def __init__(self, trace_id: str = "", request_id: str = "") -> None:
        self.partial: dict[str, str] = {}
        self.tick = 0
        suffix = f',"trace":{quote(trace_id)}' if trace_id else ""
        if request_id:
            suffix += f',"req":{quote(request_id)}'
        self.suffix = suffix + "}\n"


_process = Scope()
current: contextvars.ContextVar[Scope] = contextvars.ContextVar("fnmesh_scope", default=_process)


class Frames:
    """Writes frames, and lets go of partial lines from a thread that exists once something printed."""

    def __init__(self) -> None:
        self._mutex = threading.RLock()
        self._dirty: set[Scope] = set()
        self._tick = 0
        self._wake = threading.Event()
        self._ticker: threading.Thread | None = None
        os.register_at_fork(after_in_child=self._after_fork)

    def _after_fork(self) -> None:
        """In a forked child: the locks may be held by threads that exist in the parent only."""
        self._mutex = threading.RLock()
        self._wake = threading.Event()
        self._ticker = None

    def write(self, stream: str, text: str) -> None:
        """Add `text` to the scope's unfinished line of `stream`; complete lines leave at once."""
        scope = current.get()
        with self._mutex:
            pending = scope.partial
            if pending:
                text = pending.pop(stream, "") + text
            *lines, rest = text.split("\n")
            if lines:
                self._emit(scope, stream, lines)
            if len(rest) > LINE_LIMIT_BYTES:
                *pieces, rest = _pieces(rest)
                self._emit(scope, stream, pieces)
            if rest:
                if not pending:
                    scope.tick = self._tick
                pending[stream] = rest
                self._dirty.add(scope)
                if not self._wake.is_set():
                    self._start_ticking()
            elif not pending:
                self._dirty.discard(scope)

    def flush(self, scope: Scope) -> None:
        """Let the scope's partial lines go now: its request is over."""
        if scope.partial:
            with self._mutex:
                for stream, text in scope.partial.items():
                    self._emit(scope, stream, [text])
                scope.partial.clear()
                self._dirty.discard(scope)

    def flush_all(self) -> None:
        """Let every partial line go: the process is about to end."""
        with self._mutex:
            for scope in list(self._dirty):
                self.flush(scope)

    def _emit(self, scope: Scope, stream: str, lines: list[str]) -> None:
        start = f'\x1e{{"t":{time.time():.6f},"s":"{stream}","m":'
        suffix = scope.suffix
        frames = []
        for line in lines:
            if len(line) > _CERTAINLY_SHORT_CHARS:
                frames += [f"{start}{quote(piece)}{suffix}" for piece in _pieces(line)]
            else:
                frames.append(f"{start}{quote(line)}{suffix}")
        left = memoryview("".join(frames).encode("ascii"))
        try:
            while left:
                left = left[os.write(_FDS[stream], left) :]
        except OSError:
            return  # the reader is gone; the user's code must not fail because of it

    def _start_ticking(self) -> None:
        self._wake.set()
        if self._ticker is None:
            self._ticker = threading.Thread(target=self._tick_on, name="fnmesh-logs", daemon=True)
            self._ticker.start()

    def _tick_on(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(_TICK_S)
            with self._mutex:
                for scope in list(self._dirty):
                    if scope.tick < self._tick:
                        self.flush(scope)
                self._tick += 1
                if not self._dirty:
                    self._wake.clear()


def _pieces(line: str) -> list[str]:
    """`line` in pieces of at most LINE_LIMIT_BYTES of UTF-8, cut between characters."""
    pieces = []
    left = line.encode("utf-8", "surrogatepass")
    while len(left) > LINE_LIMIT_BYTES:
        cut = LINE_LIMIT_BYTES
        while left[cut] & 0xC0 == 0x80:
            cut -= 1
        pieces.append(left[:cut].decode("utf-8", "surrogatepass"))
        left = left[cut:]
    pieces.append(left.decode("utf-8", "surrogatepass"))
    return pieces


class FramedText(io.TextIOBase):
    """Stands in for sys.stdout or sys.stderr. `fileno()` is the real one: raw writes pass unframed."""

    encoding = "utf-8"
    errors = "backslashreplace"
    line_buffering = True

    def __init__(self, frames: Frames, stream: str) -> None:
        self._frames = frames
        self._stream = stream
        self.name = f"<{stream}>"
        self.mode = "w"
        self.buffer = _FramedBytes(self)

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if 0 < len(text) <= _SLICE:
            self._frames.write(self._stream, text)
        else:
            for start in range(0, len(text), _SLICE):
                self._frames.write(self._stream, text[start : start + _SLICE])
        return len(text)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return _FDS[self._stream]

    def isatty(self) -> bool:
        return False

    def reconfigure(self, **_: object) -> None:
        """Accepted and ignored: frames are UTF-8 JSON whatever the caller prefers."""

    def close(self) -> None:
        """Ignored: other requests print here too."""


class _FramedBytes(io.RawIOBase):
    def __init__(self, text: FramedText) -> None:
        self._text = text
        self._decoder = getincrementaldecoder("utf-8")("replace")

    def write(self, data: object) -> int:
        view = memoryview(data).cast("B")  # type: ignore[arg-type]  # any buffer, as RawIOBase says
        for start in range(0, view.nbytes, _SLICE):
            self._text.write(self._decoder.decode(view[start : start + _SLICE]))
        return view.nbytes

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._text.fileno()

    def close(self) -> None:
        """Ignored, as for the text above it."""


def install() -> Frames:
    """Replace sys.stdout and sys.stderr, and give `logging` a default that any configuration overrides.

    Nothing is added to the root logger: its last resort, used while nobody has configured a handler, is what
    prints.
    """
    frames = Frames()
    sys.stdout = FramedText(frames, "stdout")
    sys.stderr = FramedText(frames, "stderr")
    last_resort = logging._StderrHandler(logging.INFO)  # type: ignore[attr-defined]  # follows sys.stderr
    last_resort.setFormatter(logging.Formatter("%(levelname)s:%(name)s:%(message)s"))
    logging.lastResort = last_resort
    logging.root.setLevel(logging.INFO)
    return frames
