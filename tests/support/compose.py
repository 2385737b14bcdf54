"""Docker Compose: Debian's `docker-compose`, or the plugin of the `docker` command."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

FILE = Path(__file__).parents[2] / "deploy/compose.yaml"


@functools.cache
def _command() -> tuple[str, ...]:
    if shutil.which("docker-compose"):
        return ("docker-compose",)
    if shutil.which("docker"):
        done = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        return ("docker", "compose") if done.returncode == 0 else ()
    return ()


def why_missing() -> str | None:
    """What this machine lacks, or None."""
    return None if _command() else "docker-compose not found on PATH (Debian: apt-get install docker-compose)"


def compose(*arguments: str, project: str, environ: Mapping[str, str], check: bool = True) -> str:
    """Runs it with deploy/compose.yaml; what it printed."""
    passed = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    done = subprocess.run(
        [*_command(), "-p", project, "-f", str(FILE), *arguments],
        env=passed | dict(environ), capture_output=True, text=True, check=False, timeout=170,
    )  # fmt: skip
    assert not check or done.returncode == 0, f"{' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout
