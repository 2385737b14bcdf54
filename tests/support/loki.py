"""A small Loki for tests: takes and gives lines as the published API says, and refuses what Loki refuses.

It checks labels, nanosecond timestamps, how old and how far out of order an entry may be, sizes and limits, keeps the
same line of the same nanosecond once, and answers streams with structured metadata among their labels, as Loki 3 does.
`respond_with` and `hang` have it misbehave.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

_S = 10**9
_OLDEST_NS, _NEWEST_NS, _BEHIND_NS = 7 * 86_400 * _S, 600 * _S, 3600 * _S
_LONGEST_QUERY_NS = 721 * 3600 * _S
_LINE_BYTES, _BODY_BYTES, _LABELS, _MOST = 256 * 1024, 4 << 20, 15, 5000
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_TEXT = r'"(?:[^"\\\n]|\\.)*"'
_SELECTOR = re.compile(rf"\{{\s*({_NAME.pattern}\s*=\s*{_TEXT}\s*(?:,\s*{_NAME.pattern}\s*=\s*{_TEXT}\s*)*)\}}")
_STEP = re.compile(rf"\s*(\|=|!=)\s*({_TEXT})")

Labels = tuple[tuple[str, str], ...]
Entry = tuple[int, str, Labels]


class Refused(Exception):
    """What Loki answers with 400."""


@dataclass
class LokiServer:
    """What was pushed, by stream; and how to behave."""

    streams: dict[Labels, dict[Entry, None]] = field(default_factory=dict)
    """The entries of each, in the order in which they came, without those that came again."""
    pushes: int = 0
    takes_metadata: bool = True
    _responses: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    _going: threading.Event = field(default_factory=threading.Event)
    _newest_ns: dict[Labels, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def respond_with(self, *statuses: int, **headers: str) -> None:
        """The next pushes and queries are answered so, and do nothing."""
        self._responses += [(status, headers) for status in statuses]

    def hang(self) -> None:
        """Nothing is answered until `go`."""
        self._going.clear()

    def go(self) -> None:
        """Everything is answered again."""
        self._going.set()

    def waited(self) -> tuple[int, dict[str, str]] | None:
        """When it may be answered; and with what, where not with the truth."""
        self._going.wait(60)
        with self._lock:
            return self._responses.pop(0) if self._responses else None

    def push(self, content_type: str, body: bytes) -> None:
        """Takes what is right of a push. Raises Refused naming what is not."""
        if content_type != "application/json":
            raise Refused(f"unsupported content type {content_type}")
        if len(body) > _BODY_BYTES:
            raise Refused("message larger than max")
        wrong: list[str] = []
        with self._lock:
            self.pushes += 1
            for stream in json.loads(body)["streams"]:
                labels = _labels(stream["stream"])
                kept = self.streams.setdefault(labels, {})
                for value in stream["values"]:
                    try:
                        entry = self._entry(value, self._newest_ns.get(labels, 0))
                    except Refused as error:
                        wrong.append(str(error))
                        continue
                    kept[entry] = None
                    self._newest_ns[labels] = max(self._newest_ns.get(labels, 0), entry[0])
        if wrong:
            raise Refused(wrong[0])

    def _entry(self, value: list[Any], newest_ns: int) -> Entry:
        at, line, *metadata = value
        if not isinstance(at, str) or not re.fullmatch(r"[0-9]{19}", at):
            raise Refused(f"timestamp {at!r} is no string of nanoseconds")
        if not isinstance(line, str) or len(line.encode()) > _LINE_BYTES:
            raise Refused("max entry size exceeded")
        if metadata and not self.takes_metadata:
            raise Refused("stream includes structured metadata, but this feature is disallowed")
        at_ns, now_ns = int(at), time.time_ns()
        if at_ns < now_ns - _OLDEST_NS or at_ns > now_ns + _NEWEST_NS:
            raise Refused("timestamp too old or too new")
        if at_ns < newest_ns - _BEHIND_NS:
            raise Refused("entry too far behind")
        return at_ns, line, _labels(metadata[0]) if metadata else ()

    def query(self, asked: dict[str, str]) -> dict[str, Any]:
        """The answer of query_range. Raises Refused."""
        limit = int(asked.get("limit", "100"))
        start, end = int(asked["start"]), int(asked["end"])
        if not 0 < limit <= _MOST:
            raise Refused(f"max entries limit per query exceeded, limit > max_entries_limit ({limit} > {_MOST})")
        if end - start > _LONGEST_QUERY_NS or end < start:
            raise Refused("the query time range exceeds the limit")
        wanted, steps = _parsed(asked["query"])
        backward = asked.get("direction", "backward") == "backward"
        found: list[tuple[int, str, Labels]] = []
        with self._lock:
            for labels, entries in self.streams.items():
                if wanted <= set(labels):
                    found += [
                        (at, line, tuple(sorted({*labels, *metadata})))
                        for at, line, metadata in entries
                        if start <= at < end and all((text in line) is there for there, text in steps)
                    ]
        found.sort(key=lambda one: one[0], reverse=backward)
        streams: dict[Labels, list[list[str]]] = {}
        for at, line, labels in found[:limit]:
            streams.setdefault(labels, []).append([str(at), line])
        result = [
            {"stream": {**dict(labels), "service_name": "fnmesh"}, "values": values}
            for labels, values in streams.items()
        ]
        return {"status": "success", "data": {"resultType": "streams", "result": result, "stats": {}}}


def _labels(given: dict[str, Any]) -> Labels:
    if not given or len(given) > _LABELS:
        raise Refused("a stream has 1 to 15 labels")
    for name, value in given.items():
        if not _NAME.fullmatch(name) or not isinstance(value, str) or len(value) > 2048:
            raise Refused(f"label {name!r} is not one")
    return tuple(sorted(given.items()))


def _parsed(query: str) -> tuple[set[tuple[str, str]], list[tuple[bool, str]]]:
    selector = _SELECTOR.match(query)
    if selector is None:
        raise Refused("parse error: queries require at least one matcher")
    pairs = re.findall(rf"({_NAME.pattern})\s*=\s*({_TEXT})", selector[1])
    at, steps = selector.end(), []
    while step := _STEP.match(query, at):
        steps.append((step[1] == "|=", str(json.loads(step[2]))))
        at = step.end()
    if query[at:].strip():
        raise Refused(f"parse error at {query[at:]!r}")
    return {(name, str(json.loads(value))) for name, value in pairs}, steps


@contextmanager
def running_loki() -> Iterator[LokiServer]:
    """One on a port of its own."""
    loki = LokiServer()
    loki.go()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self._answer("/loki/api/v1/push", lambda _: loki.push(self.headers["content-type"], body))

        def do_GET(self) -> None:
            self._answer("/loki/api/v1/query_range", loki.query)

        def _answer(self, path: str, work: Any) -> None:
            parts = urlsplit(self.path)
            forced = loki.waited()
            status, headers, body = 404, dict[str, str](), b"page not found"
            if forced is not None:
                (status, headers), body = forced, b"made up"
            elif parts.path == path:
                try:
                    answer = work({name: values[0] for name, values in parse_qs(parts.query).items()})
                    status, body = (204, b"") if answer is None else (200, json.dumps(answer).encode())
                except Refused as error:
                    status, body = 400, str(error).encode()
            try:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                if status != 204:
                    self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                return  # whoever asked has gone

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing is written."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        loki.url = f"http://127.0.0.1:{server.server_address[1]}"
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        try:
            yield loki
        finally:
            loki.go()
            server.shutdown()
            serving.join()
