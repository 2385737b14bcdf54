"""What wasmtime writes, as the lines of the function: which request wrote them, and what went wrong, in plain words.

wasmtime begins each line of a component with `stdout [7] :: `, where 7 is the number of the request. A line that
the mesh's own part of the component writes for each request says whose number that is. What has no such beginning
is wasmtime's own.
"""

from __future__ import annotations

import json
import re
import time
from collections import OrderedDict

from deploy_svc.domain import LogStream
from deploy_svc.ports import OutputLine
from runtimes.spin.host import ADDRESS_TEXT, REQUEST_MARK

_PREFIXED = re.compile(rb"(stdout|stderr) \[(\d+)\] :: ?(.*)", re.DOTALL)
_TRACEPARENT = re.compile(rb"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_GROWING = re.compile(rb"forcing trap when growing memory to (\d+) bytes")
_DROPPED = (ADDRESS_TEXT.encode(), b"error: guest never invoked", b"note: using the `WASMTIME_BACKTRACE")
_REQUESTS = 4096
_STREAMS = {b"stdout": LogStream.STDOUT, b"stderr": LogStream.STDERR}


class HostOutput:
    """Reads the lines of one host program in their order."""

    def __init__(self) -> None:
        self._traces: OrderedDict[bytes, str] = OrderedDict()

    def read(self, line: OutputLine) -> OutputLine | None:
        """The line as people see it; None for one that is not for them."""
        found = _PREFIXED.fullmatch(line.text)
        if found is None:
            return self._own(line)
        stream, number, text = _STREAMS[found[1]], found[2], found[3]
        if text.startswith(REQUEST_MARK.encode()):
            self._note(number, text[len(REQUEST_MARK) :])
            return None
        trace = self._traces.get(number, "")
        if trace:
            text = _framed(text, stream, trace)
        return OutputLine(text, line.position, stream, line.written_at)

    def _note(self, number: bytes, traceparent: bytes) -> None:
        found = _TRACEPARENT.fullmatch(traceparent.strip())
        self._traces[number] = found[1].decode() if found else ""
        self._traces.move_to_end(number)
        if len(self._traces) > _REQUESTS:
            self._traces.popitem(last=False)

    def _own(self, line: OutputLine) -> OutputLine | None:
        text = line.text
        if text.startswith(_DROPPED) or not text.strip():
            return None
        growing = _GROWING.search(text)
        if growing is not None:
            text = f"Out of memory: a request wanted {int(growing[1]) >> 20} MiB, more than its limit.".encode()
        elif b"guest timed out" in text:
            text = b"Timeout: a request was stopped, since it took longer than its time limit."
        return OutputLine(text, line.position, LogStream.STDERR, line.written_at)


def _framed(text: bytes, stream: LogStream, trace: str) -> bytes:
    """The line with its trace, as the mesh's own servers write theirs."""
    fields = {"t": time.time(), "s": stream.value, "m": text.decode("utf-8", "replace"), "trace": trace}
    return b"\x1e" + json.dumps(fields).encode()
