"""The frames in which the Docker daemon sends what containers write, with a timestamp before each piece."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from deploy_svc.domain import LogStream
from deploy_svc.ports import OutputLine

_STREAMS = {1: LogStream.STDOUT, 2: LogStream.STDERR}
_LINE_BYTES = 512 * 1024


class LogFrames:
    """Puts lines together from blocks of bytes; skips what was written up to `position` (Unix nanoseconds).

    The daemon cuts long lines into pieces, each with its own frame and timestamp: only the last one ends with a
    newline.
    """

    def __init__(self, position: int) -> None:
        self._position = position
        self._buffer = bytearray()
        self._pieces: dict[int, bytearray] = {}

    def feed(self, block: bytes) -> list[OutputLine]:
        """The lines that are complete with this block."""
        self._buffer += block
        return list(self._lines())

    def _lines(self) -> Iterator[OutputLine]:
        while len(self._buffer) >= 8:
            end = 8 + int.from_bytes(self._buffer[4:8])
            if len(self._buffer) < end:
                return
            kind, payload = self._buffer[0], bytes(self._buffer[8:end])
            del self._buffer[:end]
            stamp, _, text = payload.partition(b" ")
            at = nanoseconds(stamp)
            if at is None or at <= self._position:
                continue
            pieces = self._pieces.setdefault(kind, bytearray())
            pieces += text
            if not text.endswith(b"\n") and len(pieces) < _LINE_BYTES:
                continue
            del self._pieces[kind]
            line = bytes(pieces).removesuffix(b"\n").removesuffix(b"\r")
            written_at = datetime.fromtimestamp(at / 1e9, UTC)
            yield OutputLine(line, at, _STREAMS.get(kind), written_at)


def nanoseconds(stamp: bytes) -> int | None:
    """Unix nanoseconds of `2030-01-02T03:04:05.123456789Z`; None where it is something else."""
    seconds, _, rest = stamp.rstrip(b"Z").partition(b".")
    try:
        whole = datetime.strptime(seconds.decode("ascii"), "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
        return int(whole.timestamp()) * 1_000_000_000 + int(rest.ljust(9, b"0")[:9] or b"0")
    except (ValueError, UnicodeDecodeError):
        return None
