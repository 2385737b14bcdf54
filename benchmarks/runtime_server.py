"""The Python runtime's server against uvicorn with httptools and uvloop: the same handler, both on a unix socket.

uvicorn gets the best of it: an ASGI application of three lines that calls the handler on the event loop, with no
event made for it. The runtime's server makes the whole event and runs the handler in a thread.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.bare_server import HANDLER, server_command, start_server
from benchmarks.children import ending
from benchmarks.lane import CONCURRENCY, CONNECTIONS, load
from benchmarks.probe import first_200
from benchmarks.report import Row, at_least
from benchmarks.turns import Plan, in_turns, median, ratios, spread

PATH = "/api/hello"
_APPLICATION = (
    HANDLER
    + """
async def app(scope, receive, send):
    result = handler({})
    body = result["body"].encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": result["statusCode"], "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""
)


def measure(plan: Plan) -> list[Row]:
    """Throughput at 32 connections, in turns."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="fnm-bench-") as scratch, ExitStack() as stack:
        places = {name: f"unix:{scratch}/{name}" for name in ("ours", "uvicorn")}
        argv = server_command(Path(scratch), sys.executable, places["ours"], concurrency=CONCURRENCY)
        stack.enter_context(ending(start_server(argv, Path(scratch) / "log")))
        stack.enter_context(ending(_uvicorn(Path(scratch), places["uvicorn"])))
        for address in places.values():
            first_200(address, PATH)
            load(address, PATH, CONNECTIONS, min(plan.seconds, 1.0))
        many = {name: partial(load, at, PATH, CONNECTIONS, plan.seconds) for name, at in places.items()}
        runs = in_turns(many, plan.rounds)
    rps = {name: [run["rps"] for run in found] for name, found in runs.items()}
    share = ratios(rps["ours"], rps["uvicorn"])
    return [
        Row("the runtime's Python server, hello, 32 connections", f"{median(rps['ours']):,.0f} rps"),
        Row("uvicorn + httptools + uvloop, the same handler", f"{median(rps['uvicorn']):,.0f} rps"),
        at_least("ours ÷ uvicorn", median(share), 0.5, spread(share)),
    ]


def _uvicorn(directory: Path, listen: str) -> subprocess.Popen[bytes]:
    (directory / "asgi_hello.py").write_text(_APPLICATION)
    command = [sys.executable, "-m", "uvicorn", "asgi_hello:app", "--uds", listen.removeprefix("unix:")]
    command += ["--app-dir", str(directory), "--http", "httptools", "--loop", "uvloop"]
    command += ["--lifespan", "off", "--no-access-log", "--log-level", "warning"]
    return subprocess.Popen(command, env=dict(os.environ))
