"""The address that the mesh listens on, checked before anything is started."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

from cli.errors import CommandError


@dataclass(frozen=True)
class Listen:
    """Host and port to listen on."""

    host: str
    port: int

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """Where a person on this machine reaches it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104
        return f"http://[{host}]:{self.port}" if ":" in host and "[" not in host else f"http://{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host == "localhost" or _is_loopback(self.host)


def parse_listen(text: str) -> Listen:
    """Reads `127.0.0.1:8080` or `[::1]:8080`; port 0 means any free one. Raises CommandError."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or int(port) > 65_535:
        raise CommandError(f"'{text}' is not an address to listen on; write it as 127.0.0.1:8080.")
    if host != "localhost":
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise CommandError(f"'{host}' is not an IP address to listen on; 127.0.0.1 is one.") from None
    return Listen("127.0.0.1" if host == "localhost" else host, int(port))


def claim(listen: Listen) -> Listen:
    """The address with its port, which nobody else listens on. Raises CommandError where somebody does.

    Envoy shares its ports (SO_REUSEPORT), so it would not notice another Envoy there: this has to.
    """
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listen.host, listen.port))
            probe.listen(1)
        except PermissionError:
            raise CommandError(f"Port {listen.port} is for root only; choose another with --listen.") from None
        except OSError as error:
            raise CommandError(
                f"{listen.address} cannot be listened on ({error.strerror}); stop what uses it, or choose "
                f"another with --listen {listen.host}:{listen.port + 1}."
            ) from None
        return Listen(listen.host, probe.getsockname()[1])


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
