"""A closed-loop HTTP/1.1 load generator, run as its own process so that it shares no event loop with what it
measures.

    python -m benchmarks.load 127.0.0.1:8080 /api/hello --connections 32 --seconds 5

Prints one JSON object: `rps`, `p50_ms`, `p99_ms`, `requests`, `errors` (answers other than 200, broken
connections). Latencies are those of whole answers. Targets are loopback addresses or `unix:/path` only, and the
run ends by itself after `--seconds`.
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import json
import sys
import time
from dataclasses import dataclass, field
from typing import cast

import httptools
import uvloop


@dataclass(slots=True)
class Tally:
    """What all connections of a run measured together; latencies in seconds."""

    latencies: list[float] = field(default_factory=list)
    errors: int = 0


class Connection(asyncio.Protocol):
    """One keep-alive connection that sends the next request when the last answer is complete."""

    def __init__(self, request: bytes, tally: Tally, until: float, done: asyncio.Future[None]) -> None:
        self._request = request
        self._tally = tally
        self._until = until
        self._done = done
        self._began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sends the first request."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its class
        self._send()

    def _send(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._began = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Feeds the parser."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Called by the parser at the end of an answer."""
        now = time.perf_counter()
        if self._parser.get_status_code() == 200:
            self._tally.latencies.append(now - self._began)
        else:
            self._tally.errors += 1
        if now >= self._until:
            self._transport.close()
        else:
            # Not from within the parser's own callback: it must not be replaced while it runs.
            asyncio.get_running_loop().call_soon(self._send)

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the connection's part of the run; before its time that is an error."""
        if time.perf_counter() < self._until:
            self._tally.errors += 1
        if not self._done.done():
            self._done.set_result(None)


def require_loopback(address: str) -> None:
    """Raises SystemExit unless `address` is `unix:/path` or on this machine's loopback."""
    if address.startswith("unix:"):
        return
    host = address.rpartition(":")[0].strip("[]")
    if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
        sys.exit(f"{address} is not a loopback address; load is sent to this machine only.")


async def run(address: str, path: str, connections: int, seconds: float) -> dict[str, float]:
    """Drives `connections` connections for `seconds`; returns the measurements named in the module's text."""
    loop = asyncio.get_running_loop()
    tally = Tally()
    request = f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()
    began = time.perf_counter()
    waits: list[asyncio.Future[None]] = []
    for _ in range(connections):
        done: asyncio.Future[None] = loop.create_future()
        waits.append(done)

        def connection(done: asyncio.Future[None] = done) -> Connection:
            return Connection(request, tally, began + seconds, done)

        if address.startswith("unix:"):
            await loop.create_unix_connection(connection, address.removeprefix("unix:"))
        else:
            host, _, port = address.rpartition(":")
            await loop.create_connection(connection, host, int(port))
    _, pending = await asyncio.wait(waits, timeout=seconds + 10)
    took = time.perf_counter() - began
    latencies = sorted(tally.latencies) or [float("nan")]
    return {
        "rps": len(tally.latencies) / took,
        "p50_ms": latencies[len(latencies) // 2] * 1e3,
        "p99_ms": latencies[int(len(latencies) * 0.99)] * 1e3,
        "requests": len(tally.latencies),
        "errors": tally.errors + len(pending),
    }


def main() -> None:
    """Runs the command line described above."""
    parser = argparse.ArgumentParser(description="Closed-loop load on a loopback HTTP server.")
    parser.add_argument("address")
    parser.add_argument("path")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    require_loopback(arguments.address)
    print(json.dumps(uvloop.run(run(arguments.address, arguments.path, arguments.connections, arguments.seconds))))


if __name__ == "__main__":
    main()
