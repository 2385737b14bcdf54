"""What is done with no mesh running: the services' own subcommands, run on its data directory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cli.errors import CommandError
from cli.up.environment import child_environment
from cli.up.listen import Listen
from cli.up.places import find_places, make_data_dir

WITH_TABLES = {
    "registry": "registry_svc",
    "build": "build_svc",
    "deploy": "deploy_svc",
    "invoke": "invoke_svc",
}


def create_admin_key(data_dir: Path | None, name: str, environ: Mapping[str, str]) -> str:
    """The secret of a new admin key."""
    return _run("registry", ["create-admin-key", *(["--name", name] if name else [])], data_dir, environ).strip()


def upgrade_databases(data_dir: Path | None, environ: Mapping[str, str]) -> list[str]:
    """Migrates the tables of each service that has some; their names."""
    for service in WITH_TABLES:
        _run(service, ["migrate"], data_dir, environ)
    return list(WITH_TABLES)


def _run(service: str, arguments: Sequence[str], data_dir: Path | None, environ: Mapping[str, str]) -> str:
    places = find_places(data_dir, environ)
    make_data_dir(places)
    done = subprocess.run(
        [sys.executable, "-m", WITH_TABLES[service], *arguments],
        env=child_environment(environ, places, Listen("127.0.0.1", 8080)),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise CommandError(why_failed(done))
    return done.stdout


def why_failed(done: subprocess.CompletedProcess[str]) -> str:
    """What a subcommand of a service said last."""
    last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return last.removeprefix("fnmesh ")
