"""Where host programs listen: on TCP, since they know nothing else."""

from __future__ import annotations

import secrets
import socket
import sys


def free_address() -> str:
    """`127.x.y.z:port` that nobody listens on.

    On Linux a whole network is loopback, so each instance has an address of its own that is not known beforehand; a
    connection meant for one that has ended reaches no other.
    """
    host = "127.0.0.1"
    if sys.platform == "linux":
        host = f"127.{1 + secrets.randbelow(254)}.{secrets.randbelow(256)}.{1 + secrets.randbelow(254)}"
    with socket.socket() as probe:
        probe.bind((host, 0))
        return f"{host}:{probe.getsockname()[1]}"
