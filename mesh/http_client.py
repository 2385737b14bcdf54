"""Calls of HTTP servers that are no part of the mesh: one request, one bounded answer, one time limit."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import httptools

from mesh.errors import Unavailable

_BLOCK_BYTES = 64 * 1024
_ANSWER_BYTES = 32 << 20
_HEAD_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What a server answered; names of headers are in small letters."""

    status: int
    body: bytes
    headers: Mapping[str, str]


@dataclass(slots=True)
class _Reading:
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    has_head: bool = False
    complete: bool = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.has_head = True

    def on_body(self, block: bytes) -> None:
        self.body += block

    def on_message_complete(self) -> None:
        self.complete = True


class HttpServer:
    """A server at a URL: `http[s]://[user:password@]host[:port][/path]`. Keeps no connections."""

    def __init__(self, url: str, *, max_bytes: int = _ANSWER_BYTES) -> None:
        """Raises ValueError where it is no such URL; the text says why."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("it is not a URL such as http://127.0.0.1:9090")
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._host, self._port = parts.hostname, parts.port or (443 if self._tls else 80)
        self._path = parts.path.rstrip("/")
        self._max_bytes = max_bytes
        name = f"[{self._host}]" if ":" in self._host else self._host
        self._head = f"Host: {name}:{self._port}\r\nUser-Agent: fnmesh\r\nConnection: close\r\n"
        if parts.username is not None:
            secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            self._head += f"Authorization: Basic {base64.b64encode(secret).decode()}\r\n"
        self.name = f"{name}:{self._port}"

    async def call(
        self, path: str, body: bytes | None = None, content_type: str = "", *, timeout_s: float
    ) -> HttpAnswer:
        """GET, or POST of a body. Raises Unavailable: no connection, no HTTP, no end in time, or too much of it."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._call(path, body, content_type)
        except TimeoutError:
            why = f"did not answer within {timeout_s:g} s"
        except (OSError, httptools.HttpParserError, EOFError):
            why = f"does not answer at {self.name}"
        raise Unavailable("SERVER_UNAVAILABLE", why)

    async def _call(self, path: str, body: bytes | None, content_type: str) -> HttpAnswer:
        reader, writer = await asyncio.open_connection(
            self._host, self._port, ssl=self._tls, server_hostname=self._host if self._tls else None
        )
        try:
            head = f"{'GET' if body is None else 'POST'} {self._path}{path} HTTP/1.1\r\n{self._head}"
            if body is not None:
                head += f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
            writer.write(f"{head}\r\n".encode() + (body or b""))
            await writer.drain()
            reading = _Reading()
            parser = httptools.HttpResponseParser(reading)
            received = 0
            while not reading.complete:
                block = await reader.read(_BLOCK_BYTES)
                if not block and "content-length" not in reading.headers and reading.headers:
                    break  # a body that the end of the connection ends
                if not block:
                    raise EOFError
                parser.feed_data(block)
                received += len(block)
                if received > _HEAD_BYTES and not reading.has_head:
                    raise Unavailable("ANSWER_TOO_LARGE", f"answered more than {_HEAD_BYTES >> 20} MiB of headers")
                if len(reading.body) > self._max_bytes:
                    raise Unavailable("ANSWER_TOO_LARGE", f"answered more than {self._max_bytes >> 20} MiB")
            return HttpAnswer(parser.get_status_code(), bytes(reading.body), reading.headers)
        finally:
            writer.close()
