"""Single requests on connections of their own, for measuring when something first answers."""

from __future__ import annotations

import socket
import time

POLL_S = 0.001


def request(address: str, path: str, *, timeout_s: float = 30.0) -> tuple[int, bytes]:
    """Status and body of one GET at `host:port` or `unix:/path`. Raises OSError."""
    with connect(address, timeout_s) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
        answer = b""
        while block := connection.recv(65536):
            answer += block
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 "):
        raise ConnectionError("no answer")
    return int(head[9:12]), body


def connect(address: str, timeout_s: float) -> socket.socket:
    """A connection to `host:port` or `unix:/path`. Raises OSError."""
    if not address.startswith("unix:"):
        host, _, port = address.rpartition(":")
        return socket.create_connection((host, int(port)), timeout_s)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        connection.connect(address.removeprefix("unix:"))
    except OSError:
        connection.close()
        raise
    return connection


def first_200(address: str, path: str, *, deadline_s: float = 60.0) -> float:
    """Asks again and again until the answer is 200; returns the `time.time()` at which it was there."""
    until = time.monotonic() + deadline_s
    while True:
        try:
            if request(address, path)[0] == 200:
                return time.time()
        except OSError:
            pass
        if time.monotonic() > until:
            raise TimeoutError(f"No 200 from {address}{path} after {deadline_s:g} s.")
        time.sleep(POLL_S)
