"""Heads of HTTP messages, from gRPC metadata to HTTP/1.1 and back.

Nothing of a request's metadata can add a line to the head that a workload reads, and what frames the body is
never the caller's word: `content-length` and `transfer-encoding` are set here alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote_from_bytes, unquote_to_bytes

from invoke_svc.domain import WorkloadFailed
from mesh.errors import InvalidArgument

Metadata = Sequence[tuple[str, str | bytes]]

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}")
_KNOWN_NAMES_LIMIT = 4096
_LONGEST_VALUE = 60_000  # Envoy takes no header of HTTP/2 that is larger than 64 KiB

HOP_BY_HOP = frozenset(
    (
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
        "trailers", "transfer-encoding", "upgrade",
    )
)  # fmt: skip
_NEVER_TO_WORKLOAD = HOP_BY_HOP | {"content-length", "host", "expect", "http2-settings"}
_OURS = ("x-fn-", "x-fnmesh-", "x-envoy-", "grpc-")
_TAKEN = frozenset(
    (
        "x-fn-method", "x-fn-path", "x-fn-host", "x-fn-scheme", "x-fn-ct", "x-fn-length", "traceparent",
        "authorization", "content-type", "prefer",
    )
)  # fmt: skip
_WITH_LENGTH = frozenset(("POST", "PUT", "PATCH"))


class RequestHead:
    """A request as Envoy handed it on: request line and headers, the latter ready to be sent.

    `lines` holds `name: value` without ends of lines; `authorization`, `traceparent` and `content_type` are apart,
    for each of them may be replaced; values of `prefer` are in `lines` too. `announced_bytes` is the length of a
    streamed body where its caller said it.
    """

    __slots__ = (
        "announced_bytes", "authorization", "content_type", "host", "lines", "method", "prefer", "target",
        "traceparent",
    )  # fmt: skip

    def __init__(self, method: str, target: str, host: str) -> None:
        self.method = method
        self.target = target
        self.host = host
        self.lines: list[str] = []
        self.authorization = ""
        self.traceparent = ""
        self.content_type = ""
        self.announced_bytes = 0
        self.prefer: list[str] = []

    @classmethod
    def from_metadata(cls, metadata: Metadata) -> RequestHead:
        """Raises InvalidArgument where what Envoy sets is missing or not what HTTP allows."""
        taken: dict[str, str] = {}
        cookies: list[str] = []
        aside: list[str] = []
        lines: list[str] = []
        known = _line_starts
        for name, value in metadata:
            start = known.get(name)
            if start is None:
                start = _classify(name)
            if not start:
                continue
            text = value if type(value) is str else _text(value)
            if start is _TAKE:
                taken[name] = text
            elif start is _COOKIE:
                cookies.append(text)
            elif start is _ASIDE:
                aside.append(text)
            else:
                lines.append(start + text)
        head = cls(taken.get("x-fn-method", ""), taken.get("x-fn-path", ""), taken.get("x-fn-host", ""))
        for pair in aside:
            name_aside, text = _restored(pair)
            if name_aside == "cookie":
                cookies.append(text)
            elif name_aside:
                lines.append(f"{name_aside}: {text}")
        if cookies:
            lines.append("cookie: " + "; ".join(cookies))
        head.lines = lines
        head.authorization = taken.get("authorization", "")
        head.traceparent = taken.get("traceparent", "")
        head.content_type = taken.get("x-fn-ct", "")
        length = taken.get("x-fn-length", "")
        if length.isdecimal():
            head.announced_bytes = int(length[:20])
        if "prefer" in taken:
            head.prefer = [_text(value) for name, value in metadata if name == "prefer"]
            lines += [f"prefer: {value}" for value in head.prefer]
        if not _is_method(head.method):
            raise InvalidArgument("METHOD_MALFORMED", "The request's method is not one that HTTP allows.")
        return head

    def encode(self, extra: Iterable[str], body_bytes: int | None) -> bytes:
        """The head as HTTP/1.1 has it, up to and with its empty line, for a body of that size (None: chunks).

        `extra` are more `name: value` lines. Raises InvalidArgument where a value would not be one line.
        """
        lines = [f"{self.method} {self.target} HTTP/1.1", f"host: {self.host}", *self.lines, *extra]
        if body_bytes is None:
            lines.append("transfer-encoding: chunked")
        elif body_bytes or self.method in _WITH_LENGTH:
            lines.append(f"content-length: {body_bytes}")
        count = len(lines)
        lines.append("\r\n")
        text = "\r\n".join(lines)
        if text.count("\n") != count + 1 or text.count("\r") != count + 1 or "\0" in text:
            raise InvalidArgument("HEADER_MALFORMED", "A header of the request has a line end or NUL in it.")
        return text.encode("utf-8", "surrogateescape")


def with_header(request: bytes, line: str) -> bytes:
    """An encoded request, or the head of one, with one header more."""
    first, _, rest = request.partition(b"\r\n")
    return b"%s\r\n%s\r\n%s" % (first, line.encode(), rest)


_DROP = ""
_TAKE = "(taken)"
_COOKIE = "(cookie)"
_ASIDE = "(aside)"
_line_starts: dict[str, str] = {"cookie": _COOKIE, "x-fn-rh": _ASIDE, **dict.fromkeys(_TAKEN, _TAKE)}


def _classify(name: str) -> str:
    """What becomes of a metadata entry of that name; remembered for names that come again."""
    if name in _NEVER_TO_WORKLOAD or name.startswith(_OURS) or name.endswith("-bin") or not _TOKEN.fullmatch(name):
        start = _DROP
    else:
        start = name + ": "
    if len(_line_starts) < _KNOWN_NAMES_LIMIT:
        _line_starts[name] = start
    return start


_methods: set[str] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


def _is_method(method: str) -> bool:
    return method in _methods or (_TOKEN.fullmatch(method) is not None and method not in ("CONNECT", "PRI"))


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def _restored(pair: str) -> tuple[str, str]:
    """The header of a `name=percent-encoded` entry, which gRPC could not carry; no name for one to leave out."""
    name, _, encoded = pair.partition("=")
    if not _TOKEN.fullmatch(name) or name in _NEVER_TO_WORKLOAD:
        raise InvalidArgument("HEADER_MALFORMED", "The name of a header of the request is not one that HTTP allows.")
    if name in ("traceparent", "tracestate") or name.startswith(_OURS[:3]):
        return "", ""
    return name, unquote_to_bytes(encoded).decode("utf-8", "surrogateescape")


# --- answers ---


class AnswerHead:
    """Metadata of an answer, and what the workload told the mesh in it."""

    __slots__ = ("fn_error", "metadata", "not_started", "timeout")

    def __init__(self) -> None:
        self.metadata: list[tuple[str, str]] = []
        self.not_started = False
        self.timeout = ""
        self.fn_error = ""


_answer_starts: dict[bytes, str] = {}
_SPECIAL = frozenset((b"content-type", b"content-length", b"connection"))


def answer_head(status: int, headers: list[tuple[bytes, bytes]]) -> AnswerHead:
    """What the caller gets to see of a workload's status and headers, as metadata for Envoy.

    Left out are hop-by-hop headers, those named in Connection, and x-fn-*, which are for the mesh.
    """
    head = AnswerHead()
    metadata = head.metadata
    metadata.append(("x-fn-status", str(status)))
    named: frozenset[str] | None = None
    for name, value in headers:
        start = _answer_starts.get(name)
        if start is None:
            start = _classify_answer(name)
        if start is _TAKE:
            if name == b"content-type":
                metadata.append(("x-fn-ct", _encode_value(value)))
            elif name == b"content-length":
                if status != 204 and status != 304:
                    metadata.append(("x-fn-h", "content-length=" + _encode_value(value)))
            elif name == b"connection":
                tokens = frozenset(one.strip().lower() for one in value.decode("latin-1").split(","))
                named = tokens - {"close", "keep-alive"}
            else:
                _note(head, name, value)
        elif start:
            metadata.append(("x-fn-h", start + _encode_value(value)))
    if named:
        prefixes = tuple(one + "=" for one in named)
        head.metadata = [one for one in metadata if not (one[0] == "x-fn-h" and one[1].startswith(prefixes))]
    return head


def answer_headers(headers: list[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """The same for a direct invoke: names and values as text."""
    result: list[tuple[str, str]] = []
    for name, value in headers:
        start = _answer_starts.get(name)
        if start is None:
            start = _classify_answer(name)
        if start and (start is not _TAKE or name == b"content-type"):
            result.append((name.decode("latin-1"), _value_text(value)))
    return result


def _note(head: AnswerHead, name: bytes, value: bytes) -> None:
    if name == b"x-fn-not-started":
        head.not_started = True
    elif name == b"x-fn-timeout":
        head.timeout = value.decode("latin-1")
    elif name == b"x-fn-error":
        head.fn_error = value.decode("latin-1")


def _classify_answer(name: bytes) -> str:
    text = name.decode("latin-1")
    if name in _SPECIAL or text.startswith("x-fn-"):
        start = _TAKE
    elif text in HOP_BY_HOP or text.startswith("x-envoy-"):
        start = _DROP
    else:
        start = text + "="
    if len(_answer_starts) < _KNOWN_NAMES_LIMIT:
        _answer_starts[name] = start
    return start


def _encode_value(value: bytes) -> str:
    """The value as metadata can carry it: percent-encoded where it is more than printable ASCII."""
    if value.isascii():
        text = value.decode("ascii")
        if text.isprintable() and "%" not in text:
            return text
    encoded = quote_from_bytes(value, safe=" !\"#$&'()*+,/:;<=>?@[]^`{|}\\")
    if len(encoded) > _LONGEST_VALUE:
        raise WorkloadFailed("ANSWER_MALFORMED", "The function did not answer in HTTP/1.1: too large headers.")
    return encoded


def _value_text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
