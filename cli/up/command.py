"""The command `fnmesh up`: checks, places, supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from cli.errors import CommandError
from cli.offline import why_failed
from cli.up.environment import child_environment
from cli.up.listen import Listen, claim, parse_listen
from cli.up.places import DataLock, Places, find_places, make_data_dir, make_run_dir
from cli.up.plan import Patience, UpPlan
from cli.up.supervisor import Supervisor

DEFAULT_LISTEN = "127.0.0.1:8080"
NO_ADMIN_KEY = 3
"""Exit code of the registry's `has-admin-key` where there is none."""


def run_up(data_dir: Path | None, listen: str | None, environ: Mapping[str, str], *, as_json: bool) -> None:
    """Runs a mesh in the foreground until SIGINT or SIGTERM. Raises CommandError where it cannot."""
    wanted = parse_listen(listen or environ.get("FNMESH_UP_LISTEN") or DEFAULT_LISTEN)
    places = find_places(data_dir, environ)
    make_data_dir(places)
    lock = DataLock(places)
    was_stopped = lock.take()
    _refuse_open_door(wanted, places, child_environment(environ, places, wanted))
    at = claim(wanted)
    plan = UpPlan(places, at, child_environment(environ, places, at), _patience(environ))
    asyncio.run(_run(plan, lock, was_stopped=was_stopped, as_json=as_json))


async def _run(plan: UpPlan, lock: DataLock, *, was_stopped: bool, as_json: bool) -> None:
    from fnmesh.client.health import serves

    supervisor = Supervisor(plan, _say, serves)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, supervisor.stop)

    def ready() -> None:
        lock.note(plan.listen.url)
        if as_json:
            line = json.dumps({"url": plan.listen.url, "dataDir": str(plan.places.data), "pid": os.getpid()})
        else:
            line = f"ready  {plan.listen.url}  (data in {plan.places.data}; Ctrl-C stops it)"
        print(line, flush=True)

    try:
        if not was_stopped:
            await supervisor.reap()
        make_run_dir(plan.places)
        await supervisor.run(ready)
    finally:
        shutil.rmtree(plan.places.run, ignore_errors=True)
        lock.release()


def _refuse_open_door(listen: Listen, places: Places, environ: Mapping[str, str]) -> None:
    """On an address that others reach, there must be keys, and an admin to make more of them."""
    if listen.is_loopback:
        return
    if environ.get("FNMESH_AUTH") != "keys":
        raise CommandError(
            f"{listen.address} can be reached from other machines, so the mesh needs API keys there; "
            "make one with `fnmesh key create --offline --scope admin` and set FNMESH_AUTH=keys."
        )
    done = subprocess.run(
        [sys.executable, "-m", "registry_svc", "has-admin-key"],
        env=dict(environ), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode == NO_ADMIN_KEY:
        raise CommandError(
            "There is no API key with the scope admin, so nobody could use the mesh; make one with "
            f"`fnmesh key create --offline --scope admin --data-dir {places.data}`."
        )
    if done.returncode != 0:
        raise CommandError(why_failed(done))


def _patience(environ: Mapping[str, str]) -> Patience:
    text = environ.get("FNMESH_UP_START_TIMEOUT_S", "")
    try:
        return Patience(start_s=float(text)) if text else Patience()
    except ValueError:
        raise CommandError(f"FNMESH_UP_START_TIMEOUT_S is '{text}'; it has to be a number of seconds.") from None


def _say(sentence: str) -> None:
    with contextlib.suppress(OSError):  # its own log may be on the disk that is full; that must not end it
        print(f"fnmesh up: {sentence}", file=sys.stderr, flush=True)
