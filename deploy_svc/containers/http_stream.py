"""Streams of the Docker daemon (logs, events), read without a thread for each."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from urllib.parse import urlsplit

import httptools

from mesh.errors import NotFound, Unavailable

_CONNECT_S = 5.0
_BLOCK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class DaemonAddress:
    """Where a daemon is: `unix:///path`, `tcp://host:port`; `tls` where it wants that."""

    url: str
    tls: ssl.SSLContext | None = None

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection. Raises OSError, TimeoutError."""
        parts = urlsplit(self.url)
        async with asyncio.timeout(_CONNECT_S):
            if parts.scheme in ("unix", "http+unix"):
                return await asyncio.open_unix_connection(parts.path)
            if parts.scheme in ("tcp", "http", "https") and parts.hostname:
                port = parts.port or (2376 if self.tls else 2375)
                return await asyncio.open_connection(parts.hostname, port, ssl=self.tls)
        raise Unavailable("DOCKER_ADDRESS", f"Output cannot be read from a daemon at {parts.scheme}://.")


async def stream(address: DaemonAddress, path: str) -> AsyncGenerator[bytes, None]:
    """The body of `GET path` as it comes. Raises NotFound, and Unavailable for all else that is not a stream."""
    try:
        reader, writer = await address.connect()
    except (OSError, TimeoutError) as error:
        raise Unavailable("DOCKER_UNAVAILABLE", f"Docker does not answer at {address.url}.") from error
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n".encode())
        answer = _Answer()
        parser = httptools.HttpResponseParser(answer)
        while not answer.complete:
            block = await reader.read(_BLOCK_BYTES)
            if not block:
                return
            parser.feed_data(block)
            if answer.headed:
                _check(parser.get_status_code(), path)
            body, answer.body = answer.body, []
            for part in body:
                yield part
    except (OSError, httptools.HttpParserError) as error:
        raise Unavailable("DOCKER_UNAVAILABLE", "The connection to Docker broke.") from error
    finally:
        writer.close()


class _Answer:
    def __init__(self) -> None:
        self.body: list[bytes] = []
        self.headed = self.complete = False

    def on_headers_complete(self) -> None:
        self.headed = True

    def on_body(self, block: bytes) -> None:
        self.body.append(block)

    def on_message_complete(self) -> None:
        self.complete = True


def _check(status: int, path: str) -> None:
    if status == 404:
        raise NotFound("CONTAINER_NOT_FOUND", f"Docker has nothing at {path.partition('?')[0]}.")
    if status >= 400:
        raise Unavailable("DOCKER_REFUSED", f"Docker answered {status} at {path.partition('?')[0]}.")
