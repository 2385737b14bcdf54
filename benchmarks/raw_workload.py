"""A workload that does nothing with bodies: it drops what it is sent, and sends as many bytes as it is asked for.

    python -m benchmarks.raw_workload --listen /path [--user UID]

A POST is answered with the number of bytes received; `GET ...?N` with N bytes. It becomes the user before it
listens, for invoke_svc speaks only to sockets of the user whose instance it is.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path
from typing import cast

import httptools
import uvloop

_PIECE = bytes(64 * 1024)


class Connection(asyncio.Protocol):
    """One connection, one request after the other."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._parser = httptools.HttpRequestParser(self)
        self._to_send = 0
        self._writable = True

    def on_message_begin(self) -> None:
        self._target = b""
        self._received = 0

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, target: bytes) -> None:
        self._target += target

    def on_body(self, body: bytes) -> None:
        self._received += len(body)

    def on_message_complete(self) -> None:
        if self._parser.get_method() == b"POST":
            text = b"%d" % self._received
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(text), text))
            self._sent()
            return
        self._to_send = int(self._target.partition(b"?")[2] or b"2")
        self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % self._to_send)
        self._send()

    def _send(self) -> None:
        while self._to_send and self._writable:
            piece = _PIECE[: self._to_send]
            self._to_send -= len(piece)
            self._transport.write(piece)
            if not self._to_send:
                self._sent()

    def _sent(self) -> None:
        if not self._parser.should_keep_alive():
            self._transport.close()

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._send()


async def serve(path: Path, user: int | None) -> None:
    """Serves until it is killed."""
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    server = await asyncio.get_running_loop().create_unix_server(Connection, str(path))
    await server.serve_forever()


def main() -> None:
    """Runs the command line described above."""
    parser = argparse.ArgumentParser(description="A workload that drops bodies and makes them.")
    parser.add_argument("--listen", type=Path, required=True)
    parser.add_argument("--user", type=int)
    arguments = parser.parse_args()
    uvloop.run(serve(arguments.listen, arguments.user))


if __name__ == "__main__":
    main()
