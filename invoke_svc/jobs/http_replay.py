"""The HTTP request that an event tells of: for workloads that take requests and know nothing of events."""

from __future__ import annotations

import base64
import json
from typing import Any

from invoke_svc.http_head import HOP_BY_HOP, RequestHead

_SET_BY_US = HOP_BY_HOP | {"content-length", "host", "content-type", "traceparent", "expect", "cookie"}


def replay(event: bytes) -> tuple[bytes, RequestHead]:
    """Body and head of the request whose event (payload format 2.0, as the mesh stored it) this is."""
    told: dict[str, Any] = json.loads(event)
    headers: dict[str, str] = told.get("headers", {})
    query = told.get("rawQueryString", "")
    target = told["rawPath"] + (f"?{query}" if query else "")
    head = RequestHead(told["requestContext"]["http"]["method"], target, headers.get("host", "fnmesh"))
    head.lines = [f"{name}: {value}" for name, value in headers.items() if name not in _SET_BY_US]
    if told.get("cookies"):
        head.lines.append("cookie: " + "; ".join(told["cookies"]))
    head.content_type = headers.get("content-type", "application/octet-stream")
    body = told.get("body", "")
    return base64.b64decode(body) if told.get("isBase64Encoded") else body.encode(), head
