"""`fnmesh invoke`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from cli.calling import mesh_at
from cli.errors import CommandError
from cli.options import DEFAULT_WORKSPACE, Json, Name, Server, Workspace
from cli.output import print_json, to_json


def invoke(
    name: Name,
    data: Annotated[
        str, typer.Option("--data", "-d", metavar="JSON", help="The event; @FILE reads a file, @- stdin.")
    ] = "{}",
    timeout: Annotated[str | None, typer.Option(help="Give up after this, such as 10s.")] = None,
    as_job: Annotated[bool, typer.Option("--async", help="Do not wait: make a job of it and print its name.")] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Run a function and print its answer; exit 1 where its status is 400 or more.

    **Example**: `fnmesh invoke hello -d '{"name": "x"}'`
    """
    event = read_event(data)
    with mesh_at(server, workspace) as mesh:
        if as_job:
            job = mesh.jobs.run(name, event, timeout=timeout)
            print_json(to_json(job)) if as_json else print(job.uid)
            return
        answer = mesh.invoke(name, event, timeout=timeout)
    if as_json:
        print_json(to_json(answer.message))
    else:
        sys.stdout.buffer.write(answer.body)
        if sys.stdout.isatty() and not answer.body.endswith(b"\n"):
            sys.stdout.buffer.write(b"\n")
        sys.stdout.flush()
    if answer.status >= 400:
        raise CommandError(
            f"The function answered {answer.status} (trace {answer.trace_id}); `fnmesh logs {name}` shows more."
        )


def read_event(data: str) -> bytes:
    """The event of an option: JSON, or `@FILE`, or `@-` for stdin."""
    if data.startswith("@"):
        raw = sys.stdin.buffer.read() if data == "@-" else Path(data[1:]).read_bytes()
    else:
        raw = data.encode()
    try:
        json.loads(raw or b"{}")
    except ValueError as error:
        raise CommandError(f'The event is not JSON ({error}); write it as \'{{"name": "x"}}\'.', 2) from None
    return raw
