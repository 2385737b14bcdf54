"""Where services are reached: one address, several with commas between them, or a name that stands for several.

`unix:/path`, `127.0.0.1:7001`, `unix:/a.sock,unix:/b.sock`, `10.0.0.4:7001,10.0.0.5:7001`, `dns:///registry:7001`.
"""

from __future__ import annotations

import asyncio
import ipaddress

_DNS = "dns:///"
# Several addresses are all connected to, and calls go to those that say they serve: a replica that is gone, or about
# to go, costs no call.
_BALANCED: tuple[tuple[str, object], ...] = (
    (
        "grpc.service_config",
        '{"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}',
    ),
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
)


class AddressError(ValueError):
    """The text names no place; it says why."""


def split(text: str) -> tuple[str, ...]:
    """The addresses of a list. Raises AddressError where a list has what cannot be in one."""
    found = tuple(one.strip() for one in text.split(",") if one.strip())
    if not found:
        raise AddressError("there is no address")
    if len(found) > 1:
        kinds = {_kind(one) for one in found}
        if len(kinds) > 1 or not kinds <= {"unix", "ipv4", "ipv6"}:
            raise AddressError(
                f"'{text}' is a list, and lists are of unix:/path or of ip:port; "
                "write dns:///name:port for a name that stands for several"
            )
    return found


def is_several(text: str) -> bool:
    """Whether more than one process may answer there."""
    return len(split(text)) > 1 or text.startswith(_DNS)


def grpc_target(text: str) -> str:
    """The addresses as gRPC writes them. Raises AddressError."""
    found = split(text)
    if len(found) == 1:
        return found[0]
    kind = _kind(found[0])
    return f"{kind}:" + ",".join(one.removeprefix("unix:") for one in found)


def grpc_options(text: str) -> tuple[tuple[str, object], ...]:
    """What a channel to these addresses needs."""
    return _BALANCED if is_several(text) else ()


async def resolved(text: str) -> tuple[str, ...]:
    """Each single process there is now, as `unix:/path` or `host:port`. A name that nobody knows stands for none."""
    if not text.startswith(_DNS):
        return split(text)
    host, _, port = text.removeprefix(_DNS).rpartition(":")
    try:
        infos = await asyncio.get_running_loop().getaddrinfo(host, int(port), proto=6)
    except (OSError, ValueError):
        return ()
    hosts = sorted({str(info[4][0]) for info in infos})
    return tuple(f"[{one}]:{port}" if ":" in one else f"{one}:{port}" for one in hosts)


def host_and_port(text: str) -> tuple[str, int]:
    """Host and port of `host:port`, `[::1]:port` or `dns:///host:port`. Raises AddressError."""
    host, separator, port = text.removeprefix(_DNS).rpartition(":")
    if not separator or not host or not port.isdecimal():
        raise AddressError(f"'{text}' is not unix:/path, host:port or dns:///name:port")
    return host.strip("[]"), int(port)


def is_name(text: str) -> bool:
    """Whether the address has a host name that must be looked up."""
    if text.startswith("unix:"):
        return False
    return _kind(text) in ("dns", "name")


def _kind(address: str) -> str:
    if address.startswith("unix:"):
        return "unix"
    if address.startswith(_DNS):
        return "dns"
    try:
        return f"ipv{ipaddress.ip_address(host_and_port(address)[0]).version}"
    except AddressError:
        raise
    except ValueError:
        return "name"
