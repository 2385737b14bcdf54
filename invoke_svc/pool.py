"""The connections to one workload, kept for the next request."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path

from invoke_svc.connection import Connection, NotSent

IDLE_LIMIT_S = 4.0
"""Shorter than the idle time after which any usual server closes (Node.js and uvicorn: 5 s)."""
CONNECT_TIMEOUT_S = 2.0
_UCRED = struct.Struct("3i")  # pid, uid, gid: unix(7), SO_PEERCRED


class ConnectionPool:
    """Connections to an address, the last one used first. It sets no limit: admission does."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._open)

    def take(self) -> Connection | None:
        """An open connection that nobody uses; None where one has to be made."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.loop.time() - connection.idle_since < connection.idle_limit_s:
                return connection
            connection.close()
        return None

    async def connect(self) -> Connection:
        """A new connection. Raises NotSent where nobody listens there."""
        loop = asyncio.get_running_loop()
        address = self.address

        def make() -> Connection:
            return Connection(loop, self._on_lost)

        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                if address.startswith("unix:"):
                    transport, connection = await loop.create_unix_connection(make, address[5:])
                    if not _is_the_owners(transport, address[5:]):
                        connection.close()
                        raise NotSent("somebody else answers at the instance's socket")
                else:
                    host, _, port = address.rpartition(":")
                    _, connection = await loop.create_connection(make, host.strip("[]"), int(port))
        except (OSError, TimeoutError, ValueError) as error:
            raise NotSent(str(error)) from error
        self._open.add(connection)
        return connection

    def give(self, connection: Connection) -> None:
        """Takes back a connection after an exchange, and keeps it if another may follow on it."""
        if not connection.reusable or self._closed:
            connection.close()
            return
        connection.busy = False
        connection.idle_since = connection.loop.time()
        connection.idle_limit_s = _idle_limit_s(connection.headers)
        self._idle.append(connection)
        oldest = self._idle[0]
        if connection.idle_since - oldest.idle_since >= oldest.idle_limit_s:
            self._idle.pop(0).close()

    def close(self) -> None:
        """Closes the idle connections now, and each of the others when it is given back."""
        self._closed = True
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    def _on_lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)


def _is_the_owners(transport: asyncio.BaseTransport, path: str) -> bool:
    """Whether the user who listens is the one whom the socket's directory belongs to.

    A workload may do in its directory what it likes, so its socket may be a link to somebody else's. The directory
    itself is made by deploy_svc, in one that no workload can write.
    """
    credentials = transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _, uid, _ = _UCRED.unpack(credentials)
    return bool(uid == Path(path).parent.stat().st_uid)


def _idle_limit_s(headers: list[tuple[bytes, bytes]]) -> float:
    """How long a connection may rest: a second less than what the workload's Keep-Alive header says."""
    for name, value in headers:
        if name == b"keep-alive":
            for part in value.split(b","):
                key, _, number = part.strip().partition(b"=")
                if key.lower() == b"timeout" and number.strip().isdigit():
                    return min(IDLE_LIMIT_S, int(number) - 1.0)
    return IDLE_LIMIT_S
