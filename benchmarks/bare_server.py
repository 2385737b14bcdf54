"""The Python runtime's server by itself, started as deploy_svc starts it but for the user and the limits."""

from __future__ import annotations

import subprocess
from pathlib import Path

from runtimes.catalog import Launch, Placement, command, install

HANDLER = 'def handler(event):\n    return {"statusCode": 200, "body": "hello"}\n'


def server_command(directory: Path, interpreter: str, listen: str, *, concurrency: int = 10) -> list[str]:
    """The command line of a server of HANDLER, whose files are put into `directory`."""
    installed = install("python", directory / "toolchain")
    app = directory / "app"
    app.mkdir(exist_ok=True)
    (app / "handler.py").write_text(HANDLER)
    place = Placement(interpreter=interpreter, server=installed.server, app=app, lib=installed.lib)
    launch = Launch(file="handler.py", function="bare", revision="1", concurrency=concurrency)
    return command("python", place, listen, launch)


def start_server(argv: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Starts it; its output goes to a file."""
    with log.open("wb") as output:
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={"LANG": "C.UTF-8"})
