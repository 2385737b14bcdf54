"""Asks an instance whether it is ready: one HTTP request on a connection of its own."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httptools

from deploy_svc.ports import Readiness

_REQUEST = b"GET /.fnmesh/ready HTTP/1.1\r\nhost: instance\r\nconnection: close\r\n\r\n"
_MAX_BODY_BYTES = 64 * 1024


class HttpProber:
    """Probes `unix:/path` and `host:port`."""

    async def ready(self, address: str, timeout_s: float, *, asks: bool = True) -> Readiness:
        """200 is ready; 500 with an error in JSON is failed for good; anything else is not yet.

        Without `asks` no request is sent, which a function of somebody else's server would have to answer: who takes
        connections is ready.
        """
        try:
            async with asyncio.timeout(timeout_s):
                if not asks:
                    (await _connect(address))[1].close()
                    return Readiness(ready=True)
                status, body = await _get(address)
        except (OSError, TimeoutError, httptools.HttpParserError, EOFError):
            return Readiness()
        if status == 200:
            return Readiness(ready=True)
        return Readiness(failed=True, message=_reason(body)) if status == 500 else Readiness()


async def _connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.startswith("unix:"):
        return await asyncio.open_unix_connection(_own_socket(address.removeprefix("unix:")))
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host.strip("[]"), int(port))


async def _get(address: str) -> tuple[int, bytes]:
    reader, writer = await _connect(address)
    try:
        writer.write(_REQUEST)
        answer = _Answer()
        parser = httptools.HttpResponseParser(answer)
        while not answer.complete:
            block = await reader.read(65536)
            if not block:
                raise EOFError
            parser.feed_data(block)
            if len(answer.body) > _MAX_BODY_BYTES:
                break
        return parser.get_status_code(), bytes(answer.body)
    finally:
        writer.close()


def _own_socket(path: str) -> str:
    """The path, unless it is a link: the workload's directory is its own, and what it points at is not asked."""
    if Path(path).is_symlink():
        raise ConnectionRefusedError
    return path


class _Answer:
    def __init__(self) -> None:
        self.body = bytearray()
        self.complete = False

    def on_body(self, block: bytes) -> None:
        self.body += block

    def on_message_complete(self) -> None:
        self.complete = True


def _reason(body: bytes) -> str:
    try:
        fields: Any = json.loads(body)
        return f"{fields['errorType']}: {fields['errorMessage']}"
    except (ValueError, TypeError, KeyError):
        return "it answered the readiness probe with an error"
