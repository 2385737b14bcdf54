"""Turns what a handler returned, yielded or raised into HTTP/1.1 bytes.

Nothing of the user's reaches the wire unchecked: a header that could split the response, or a value that is
not JSON, is a ResultInvalid and so a 500, never a broken response.
"""

from __future__ import annotations

import binascii
import re
from json import JSONEncoder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade"}
_OURS = _HOP_BY_HOP | {"content-length", "transfer-encoding"}
_encode = JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode
_status_lines = {200: b"HTTP/1.1 200 OK\r\n"}
_JSON_TYPE = b"content-type: application/json\r\n"
_TEXT_TYPE = b"content-type: text/plain; charset=utf-8\r\n"
_BYTES_TYPE = b"content-type: application/octet-stream\r\n"
_NDJSON_TYPE = b"content-type: application/x-ndjson\r\n"


class ResultInvalid(Exception):
    """The handler's result cannot be sent; the text says what is wrong with it."""


class Reply:
    """A response: `head` up to, not including, its empty line; `length` is what HEAD announces."""

    __slots__ = ("body", "has_body", "head", "length")

    def __init__(self, status: int, headers: bytes, body: bytes, length: int = -1) -> None:
        self.head = _status_line(status) + headers
        self.body = body
        self.has_body = status not in (204, 304)
        self.length = len(body) if length < 0 else length

    def wire(self, to_head: bool, close: bool) -> bytes:
        """The whole response, for one write. `to_head` leaves the body out, as HEAD wants."""
        end = b"connection: close\r\n\r\n" if close else b"\r\n"
        if not self.has_body:
            return self.head + end
        length = b"content-length: %d\r\n" % self.length
        return b"".join((self.head, length, end) if to_head else (self.head, length, end, self.body))

    def stream_wire(self, chunked: bool, close: bool) -> bytes:
        """The head of a response whose body follows: in chunks, or (HTTP/1.0) until the connection ends."""
        framing = b"transfer-encoding: chunked\r\n" if chunked and self.has_body else b""
        return self.head + framing + (b"connection: close\r\n\r\n" if close else b"\r\n")


def of_result(result: Any) -> Reply:
    """The response to a returned value: {"statusCode", ...}, or any JSON value as a 200."""
    if isinstance(result, dict) and _is_status(result.get("statusCode")):
        return _of_shape(result)
    return Reply(200, _JSON_TYPE, _json(result))


def _of_shape(shape: dict[str, Any]) -> Reply:
    headers, typed, announced = _headers(shape)
    body = shape.get("body")
    if shape.get("isBase64Encoded") and isinstance(body, str):
        try:
            content, kind = binascii.a2b_base64(body.encode("ascii"), strict_mode=True), _BYTES_TYPE
        except ValueError as error:
            raise ResultInvalid(f"isBase64Encoded is true, but body is not base64: {error}") from None
    else:
        content, kind = _content(body)
    if not typed and content:
        headers += kind
    return Reply(shape["statusCode"], headers, content, announced if not content else -1)


def _content(body: Any) -> tuple[bytes, bytes]:
    if body is None:
        return b"", b""
    if isinstance(body, str):
        return _utf8(body), _TEXT_TYPE
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body), _BYTES_TYPE
    return _json(body), _JSON_TYPE


def stream_start(first: Any) -> tuple[Reply, bytes]:
    """The head of a streamed response, and the first bytes of its body, from the first item yielded."""
    if isinstance(first, dict) and _is_status(first.get("statusCode")):
        headers, typed, _ = _headers(first)
        content, kind = _content(first.get("body"))
        if first.get("isBase64Encoded") and isinstance(first.get("body"), str):
            content, kind = binascii.a2b_base64(first["body"]), _BYTES_TYPE
        return Reply(first["statusCode"], headers if typed else headers + kind, b""), content
    kind = _TEXT_TYPE if isinstance(first, str) else _BYTES_TYPE if isinstance(first, bytes) else _NDJSON_TYPE
    return Reply(200, kind, b""), stream_item(first)


def stream_item(item: Any) -> bytes:
    """The bytes of one yielded item: str and bytes as they are, any other value as a line of JSON."""
    if isinstance(item, str):
        return _utf8(item)
    if isinstance(item, (bytes, bytearray, memoryview)):
        return bytes(item)
    return _json(item) + b"\n"


def chunk(content: bytes) -> bytes:
    """`content` as a chunk of a chunked body; it must not be empty."""
    return b"%x\r\n%b\r\n" % (len(content), content)


def of_error(
    status: int, kind: str, message: str, trace_id: str = "", headers: bytes = b"", *, to_log: bool = False
) -> Reply:
    """The JSON error body; `to_log` marks a 500 whose traceback the function's log has."""
    if to_log:
        headers += b"x-fn-error: handler\r\n"
    message = message.encode("utf-8", "backslashreplace").decode("utf-8")
    body = {"errorType": kind, "errorMessage": message, "trace_id": trace_id or None}
    return Reply(status, _JSON_TYPE + headers, _encode(body).encode("utf-8"))


def of_exception(error: BaseException, trace_id: str) -> Reply:
    """The 500 of an exception that left the handler: its type and text, never its traceback."""
    try:
        message = str(error)
    except Exception:  # the user's __str__ is the user's code
        message = "(its text could not be made)"
    kind = "ResultInvalid" if isinstance(error, ResultInvalid) else type(error).__name__
    return of_error(500, kind, message, trace_id, to_log=True)


def not_started(message: str) -> Reply:
    """The 503 that says nothing of the user's has run, so that the call may go elsewhere."""
    return of_error(503, "NotStarted", message, headers=b"x-fn-not-started: 1\r\n")


def _is_status(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _status_line(status: int) -> bytes:
    line = _status_lines.get(status)
    if line is None:
        if not 200 <= status <= 599:
            raise ResultInvalid(f"statusCode is {status}: it must be between 200 and 599")
        from http import HTTPStatus  # for the first status other than 200 only

        reason = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
        line = _status_lines[status] = f"HTTP/1.1 {int(status)} {reason}\r\n".encode("ascii")
    return line


def _json(value: Any) -> bytes:
    try:
        return _encode(value).encode("utf-8")
    except (TypeError, ValueError) as error:
        raise ResultInvalid(f"the handler's result is not JSON: {error}") from None
    except RecursionError:
        raise ResultInvalid("the handler's result is not JSON: it is nested too deeply") from None


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ResultInvalid(f"the handler's text is not Unicode: {error}") from None


def _headers(shape: dict[str, Any]) -> tuple[bytes, bool, int]:
    """The header lines of a shape, whether they have a content-type, and the length they announce (or -1)."""
    single = _mapping(shape, "headers")
    several = _mapping(shape, "multiValueHeaders")
    lines: list[str] = []
    typed, announced = False, -1
    replaced = {str(name).lower() for name in several}
    pairs = [pair for pair in single.items() if str(pair[0]).lower() not in replaced]
    for name, value in [*pairs, *several.items()]:
        key = str(name).lower()
        if not _TOKEN.fullmatch(key):
            raise ResultInvalid(f"the header name {str(name)!r} is not valid")
        if key == "content-length" and str(value).isdecimal():
            announced = int(value)
        if key in _OURS or key.startswith("x-fn-"):
            continue
        typed = typed or key == "content-type"
        values = value if isinstance(value, (list, tuple)) else (value,)
        lines += [f"{key}: {_header_value(key, one)}\r\n" for one in values if one is not None]
    cookies = shape.get("cookies") or ()
    for cookie in (cookies,) if isinstance(cookies, str) else cookies:
        lines.append(f"set-cookie: {_header_value('set-cookie', cookie)}\r\n")
    text = "".join(lines)
    try:
        return text.encode("latin-1"), typed, announced
    except UnicodeEncodeError:
        return _utf8(text), typed, announced


def _mapping(shape: dict[str, Any], key: str) -> dict[Any, Any]:
    value = shape.get(key) or {}
    if not isinstance(value, dict):
        raise ResultInvalid(f"{key} is a {type(value).__name__}: it must be a dict")
    return value


def _header_value(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = value if isinstance(value, str) else str(value) if isinstance(value, (int, float)) else None
    if text is None:
        kind = type(value).__name__
        raise ResultInvalid(f"the header {name} is a {kind}: it must be a string, number or list of them")
    if _CONTROL.search(text):
        raise ResultInvalid(f"the value of the header {name} has a control character")
    return text.strip()
