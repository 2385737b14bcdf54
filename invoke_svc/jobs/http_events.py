"""The event that a handler would have got of an HTTP request, for one that shall run later.

The same as the runtimes make (runtimes/python/fnmesh_worker/events.py), of the request as it would have reached them.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote_plus

from invoke_svc.domain import Route
from invoke_svc.http_head import RequestHead
from mesh.errors import InvalidArgument

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


def prefers_async(values: Iterable[str]) -> bool:
    """Whether Prefer headers (RFC 7240) ask for an answer before the work is done."""
    return any(
        preference.partition(";")[0].partition("=")[0].strip().lower() == "respond-async"
        for value in values
        for preference in value.split(",")
    )


def event_of(route: Route, request: RequestHead, body: bytes, request_id: str) -> tuple[bytes, bool]:
    """The event as JSON, and whether it tells of the request (else it is the body itself).

    Raises InvalidArgument (EVENT_INVALID) where the function takes the body as its event and that is not JSON.
    """
    if route.body_event:
        try:
            json.loads(body or b"{}")
        except (ValueError, RecursionError):
            raise InvalidArgument("EVENT_INVALID", "The body must be JSON: it is the function's event.") from None
        return body or b"{}", False
    return json.dumps(_http_event(request, body, request_id)).encode(), True


def _http_event(request: RequestHead, body: bytes, request_id: str) -> dict[str, Any]:
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for line in (f"host: {request.host}", *request.lines, *_apart(request)):
        name, _, value = line.partition(": ")
        if name == "cookie":
            cookies += [cookie for part in value.split(";") if (cookie := part.strip())]
        else:
            headers[name] = f"{headers[name]},{value}" if name in headers else value
    if body:
        headers["content-length"] = str(len(body))
    path, _, query = request.target.partition("?")
    host, now = request.host, time.time()
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
                "protocol": "HTTP/1.1",
                "sourceIp": headers.get("x-forwarded-for", "").partition(",")[0].strip(),
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": request_id,
            "routeKey": "$default",
            "stage": "$default",
            "time": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)),
            "timeEpoch": int(now * 1000),
        },
        "isBase64Encoded": False,
    }
    if cookies:
        event["cookies"] = cookies
    if query:
        event["queryStringParameters"] = _parameters(query)
    if body:
        event["body"], event["isBase64Encoded"] = _body(body, headers)
    return event


def _apart(request: RequestHead) -> Iterable[str]:
    named = (
        ("traceparent", request.traceparent),
        ("content-type", request.content_type),
        ("authorization", request.authorization),
    )
    return [f"{name}: {value}" for name, value in named if value]


def _parameters(query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in query.split("&"):
        if pair:
            name, _, value = (unquote_plus(part) for part in pair.partition("="))
            found[name] = f"{found[name]},{value}" if name in found else value
    return found


def _body(body: bytes, headers: dict[str, str]) -> tuple[str, bool]:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    text = kind.startswith("text/") or kind in _TEXT_TYPES or kind.endswith(("+json", "+xml"))
    if text and "content-encoding" not in headers:
        try:
            return body.decode(), False
        except UnicodeDecodeError:
            pass
    return base64.b64encode(body).decode(), True
