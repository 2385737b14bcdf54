"""Envoy's admin interface over its unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

from gateway.envoy.spec import LISTENER

_LIMIT_S = 2.0
_REQUESTS = f"http.{LISTENER}.downstream_rq_total"


class AdminError(Exception):
    """Envoy's admin interface did not answer, or not as it should."""


async def ask(socket: Path, path: str, method: str = "GET") -> str:
    """The body of one admin call. Raises AdminError."""
    try:
        async with asyncio.timeout(_LIMIT_S):
            reader, writer = await asyncio.open_unix_connection(socket)
            try:
                request = f"{method} {path} HTTP/1.1\r\nhost: admin\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                writer.write(request.encode())
                answer = await reader.read(-1)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError) as error:
        raise AdminError(f"Envoy's admin socket {socket} does not answer: {error}") from None
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    if " 200 " not in lines[0] + " ":
        raise AdminError(f"{method} {path}: {lines[0]}")
    if any(line.lower().startswith("transfer-encoding: chunked") for line in lines):
        body = _unchunked(body)
    return body.decode()


def _unchunked(body: bytes) -> bytes:
    whole = bytearray()
    while body:
        size_line, _, body = body.partition(b"\r\n")
        size = int(size_line.split(b";")[0], 16)
        if size == 0:
            break
        whole += body[:size]
        body = body[size + 2 :]
    return bytes(whole)


async def requests_total(socket: Path) -> int:
    """How many requests Envoy has taken since it started. Raises AdminError."""
    text = await ask(socket, f"/stats?filter=^{_REQUESTS.replace('.', '%5C.')}$")
    name, _, value = text.strip().partition(": ")
    return int(value) if name == _REQUESTS else 0


async def listen_address(socket: Path) -> tuple[str, int] | None:
    """Where Envoy listens (the port it picked, where it was told 0); None while it does not. Raises AdminError."""
    listeners = json.loads(await ask(socket, "/listeners?format=json"))
    for status in listeners.get("listener_statuses", []):
        if status.get("name") == LISTENER:
            address = status["local_address"]["socket_address"]
            return str(address["address"]), int(address["port_value"])
    return None


async def is_ready(socket: Path) -> bool:
    """Whether Envoy has all its configuration and serves: what the health check of deploy/compose.yaml asks."""
    try:
        return (await ask(socket, "/ready")).startswith("LIVE")
    except AdminError:
        return False


async def drain(socket: Path) -> None:
    """Asks clients to go elsewhere (`connection: close`, GOAWAY); call it, wait, then send SIGTERM.

    Raises AdminError.
    """
    await ask(socket, "/drain_listeners?graceful&skip_exit", "POST")


async def active_requests(socket: Path) -> int:
    """Requests that Envoy is busy with: when it is 0 after `drain`, SIGTERM breaks nothing. Raises AdminError."""
    text = await ask(socket, f"/stats?filter=^http%5C.{LISTENER}%5C.downstream_rq_active$")
    return int(text.strip().rpartition(": ")[2] or 0)
