"""Turns a request into the event of the handler.

The HTTP event is AWS Lambda's for function URLs, payload format 2.0:
https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
"""

from __future__ import annotations

import binascii
import os
import time
from json import JSONDecoder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TEXT_TYPES = (
    "application/json",
    "application/xml",
    "application/javascript",
    "application/x-javascript",
    "application/ecmascript",
    "application/x-www-form-urlencoded",
    "application/x-ndjson",
    "application/graphql",
)
_HEX = frozenset("0123456789abcdef")


class EventInvalid(Exception):
    """The body should have been JSON and is not; the text says where."""


class Request:
    """One request as it came: `target` is raw path and query, `headers` raw pairs, names in lower case."""

    __slots__ = ("body", "headers", "keep_alive", "method", "target", "version")

    def __init__(self) -> None:
        self.method = ""
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.version = "1.1"
        self.keep_alive = True


class Envelope:
    """What the headers say: those for the handler, and those of the platform (x-fn-*), apart."""

    __slots__ = ("cookies", "headers", "request_id", "timeout_ms", "trace_id")

    def __init__(self, request: Request) -> None:
        self.headers: dict[str, str] = {}
        self.cookies: list[str] = []
        self.request_id = ""
        self.trace_id = ""
        self.timeout_ms = 0
        headers = self.headers
        for raw_name, raw_value in request.headers:
            name = raw_name.decode("latin-1")
            value = raw_value.decode("latin-1")
            if name.startswith("x-fn-"):
                self._internal(name, value)
            elif name == "cookie":
                self.cookies += [cookie for part in value.split(";") if (cookie := part.strip())]
            elif name in headers:
                headers[name] += "," + value
            else:
                headers[name] = value
                if name == "traceparent":
                    self.trace_id = trace_id_of(value)
        if not self.request_id:
            made = os.urandom(16).hex()
            self.request_id = f"{made[:8]}-{made[8:12]}-{made[12:16]}-{made[16:20]}-{made[20:]}"

    def _internal(self, name: str, value: str) -> None:
        if name == "x-fn-timeout-ms" and value.isdecimal():
            self.timeout_ms = int(value)
        elif name == "x-fn-request-id":
            self.request_id = value


def trace_id_of(traceparent: str) -> str:
    """The trace id in a W3C traceparent, or nothing if it is not one."""
    parts = traceparent.split("-")
    if len(parts) < 4 or len(parts[0]) != 2 or len(parts[1]) != 32 or parts[0] == "ff":
        return ""
    trace_id = parts[1]
    return trace_id if _HEX.issuperset(trace_id) and trace_id.strip("0") else ""


def json_event(body: bytes) -> Any:
    """The JSON value in `body`, or {} for an empty one."""
    if not body:
        return {}
    try:
        return _decoder.decode(body.decode("utf-8"))
    except ValueError as error:  # also a UnicodeDecodeError
        raise EventInvalid(f"the body is not JSON: {error}") from None
    except RecursionError:
        raise EventInvalid("the body is not JSON: it is nested too deeply") from None


def http_event(request: Request, envelope: Envelope) -> dict[str, Any]:
    """The payload 2.0 event; absent parts (cookies, query, body) are absent, as AWS leaves them."""
    headers = envelope.headers
    path, _, query = request.target.decode("latin-1").partition("?")
    now = time.time()
    host = headers.get("host", "")
    domain = host.rpartition(":")[0] if host and host[-1].isdecimal() and ":" in host else host
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": "anonymous",
            "apiId": domain.partition(".")[0],
            "domainName": domain,
            "domainPrefix": domain.partition(".")[0],
            "http": {
                "method": request.method,
                "path": path,
                "protocol": "HTTP/" + request.version,
                "sourceIp": headers.get("x-forwarded-for", "").partition(",")[0].strip(),
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": envelope.request_id,
            "routeKey": "$default",
            "stage": "$default",
            "time": _clf(int(now)),
            "timeEpoch": int(now * 1000),
        },
        "isBase64Encoded": False,
    }
    if envelope.cookies:
        event["cookies"] = envelope.cookies
    if query:
        event["queryStringParameters"] = query_parameters(query)
    if request.body:
        event["body"], event["isBase64Encoded"] = body_text(request.body, headers)
    return event


def body_text(body: bytes, headers: dict[str, str]) -> tuple[str, bool]:
    """The body as a string, and whether it is base64: text of a known type stays text, all else does not."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if "content-encoding" not in headers and (
        kind.startswith("text/") or kind in _TEXT_TYPES or kind.endswith(("+json", "+xml"))
    ):
        try:
            return body.decode("utf-8"), False
        except UnicodeDecodeError:
            pass  # says it is text and is not UTF-8: only base64 keeps its bytes
    return binascii.b2a_base64(body, newline=False).decode("ascii"), True


def query_parameters(query: str) -> dict[str, str]:
    """Decoded parameters of a query string; repeated ones are joined with commas."""
    parameters: dict[str, str] = {}
    if "%" in query or "+" in query:
        from urllib.parse import unquote_plus as decode  # imported when there is something to decode
    else:
        decode = str  # type: ignore[assignment]
    for pair in query.split("&"):
        if pair:
            name, _, value = pair.partition("=")
            name, value = decode(name), decode(value)
            parameters[name] = f"{parameters[name]},{value}" if name in parameters else value
    return parameters


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_decoder = JSONDecoder(parse_constant=_refuse_constant)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_last_clf = (0, "")


def _clf(second: int) -> str:
    """`second` in the common log format, which is what the event's `time` is; made once a second."""
    global _last_clf
    known, text = _last_clf
    if known != second:
        at = time.gmtime(second)
        text = (
            f"{at.tm_mday:02}/{_MONTHS[at.tm_mon - 1]}/{at.tm_year}:{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} +0000"
        )
        _last_clf = (second, text)
    return text
