"""`fnmesh logs`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cli.calling import mesh_at
from cli.options import DEFAULT_WORKSPACE, Json, Name, Server, Workspace
from cli.output import clock, console, print_json, to_json

if TYPE_CHECKING:
    from rich.text import Text

    from fnmesh.deploy.v1 import deployment_pb2


def logs(
    name: Name,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with the lines that come.")] = False,
    tail: Annotated[int, typer.Option("--tail", "-n", min=0, max=10_000, help="Only the newest lines.",
                                      show_default="1000")] = 0,
    trace_id: Annotated[str, typer.Option("--trace", metavar="ID", help="Only lines of this trace.")] = "",
    workspace: Workspace = DEFAULT_WORKSPACE,
    server: Server = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Show what a function has printed, oldest first; with --json one line of JSON each.

    **Example**: `fnmesh logs hello -f`
    """
    with mesh_at(server, workspace) as mesh:
        out = console()
        for entry in mesh.logs(name, follow=follow, tail=tail, trace_id=trace_id):
            if as_json:
                print_json(to_json(entry), lines=True)
            else:
                out.print(_line(entry))
                sys.stdout.flush()


def _line(entry: deployment_pb2.LogEntry) -> Text:
    from rich.text import Text

    from fnmesh.deploy.v1 import deployment_pb2

    style = {deployment_pb2.LOG_STREAM_STDERR: "yellow", deployment_pb2.LOG_STREAM_SYSTEM: "cyan"}
    return Text.assemble(
        (clock(entry.write_time), "dim"),
        (f" r{entry.revision} ", "dim"),
        (f"{entry.trace_id[:8] or '-':<8} ", "magenta"),
        (entry.text, style.get(entry.stream, "")),
    )
