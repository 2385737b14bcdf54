"""What tools write, line by line: cut into lines, the last of them kept, and how a tool ended that was killed."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Awaitable, Callable

from build_svc.domain import LINE_BYTES_MAX, log_text

LineSink = Callable[[bytes], Awaitable[None]]
_LAST = 200
_FOR_MEMORY = (signal.SIGKILL, signal.SIGABRT)


class Splitter:
    """Passes on the lines of a stream that comes in pieces; one without an end is passed on in parts."""

    def __init__(self, on_line: LineSink) -> None:
        self._on_line = on_line
        self._rest = b""

    async def feed(self, piece: bytes) -> None:
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            await self._on_line(line)
        if len(self._rest) > 4 * LINE_BYTES_MAX:
            await self.end()

    async def end(self) -> None:
        """What is left is the last line."""
        rest, self._rest = self._rest, b""
        if rest:
            await self._on_line(rest)


class LastLines:
    """A sink that passes lines on and keeps the last of them, as they may be shown: by these, errors are told."""

    def __init__(self, on_line: LineSink, *, count: int = _LAST) -> None:
        self._on_line = on_line
        self._kept: deque[str] = deque(maxlen=count)

    async def __call__(self, raw: bytes) -> None:
        self._kept.append(log_text(raw))
        await self._on_line(raw)

    @property
    def texts(self) -> list[str]:
        return list(self._kept)


def killed(tool: str, status: int) -> str:
    """The sentence for a tool that a signal has ended, which could say nothing of it itself; empty for others."""
    if status >= 0:
        return ""
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    if -status in _FOR_MEMORY:
        return (
            f"{tool} was ended by {name}, most likely because this machine is short of memory; build again when it does"
            " less, or with fewer or smaller libraries."
        )
    return f"{tool} was ended by {name}; build again, and look at its last lines where that is of no use."


async def nowhere(line: bytes) -> None:
    """A sink for lines that nobody is to see."""
