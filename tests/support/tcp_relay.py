"""A TCP port of this machine, offered at another address of it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def relayed(listen_host: str, to_host: str, to_port: int) -> Iterator[int]:
    """Connections to the port that this yields, at `listen_host`, reach the other address."""
    with socket.create_server((listen_host, 0)) as server:
        accepting = threading.Thread(target=_accept, args=(server, (to_host, to_port)), daemon=True)
        accepting.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            server.shutdown(socket.SHUT_RDWR)
            accepting.join()


def _accept(server: socket.socket, to: tuple[str, int]) -> None:
    while True:
        try:
            near, _ = server.accept()
            far = socket.create_connection(to)
        except OSError:
            return
        for source, sink in ((near, far), (far, near)):
            threading.Thread(target=_copy, args=(source, sink), daemon=True).start()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):  # both directions end together; closing twice is harmless
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
    source.close()
