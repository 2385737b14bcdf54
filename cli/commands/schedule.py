"""`fnmesh schedule add|list|delete`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.calling import mesh_at
from cli.commands.invoke import read_event
from cli.errors import CommandError
from cli.options import DEFAULT_WORKSPACE, Json, Server, Workspace
from cli.output import clock, print_json, print_messages, print_table, to_json

app = typer.Typer(no_args_is_help=True, help="Schedules: jobs again and again, at the times of a cron expression.")


@app.command("add")
def add(
    cron: Annotated[str, typer.Argument(metavar="CRON", help="Minute, hour, day of month, month, day of week.")],
    function: Annotated[str | None, typer.Argument(metavar="[FUNCTION]", help="Name of the function.")] = None,
    script: Annotated[Path | None, typer.Option("--script", help="Run this file instead of a function.")] = None,
    event: Annotated[
        str, typer.Option("--event", "-d", metavar="JSON", help="The event; @FILE reads a file, @- stdin.")
    ] = "{}",
    time_zone: Annotated[str, typer.Option("--time-zone", "-z", metavar="ZONE", show_default="UTC",
                                           help="Time zone of CRON, such as Europe/Berlin.")] = "",
    missed: Annotated[str, typer.Option(help="Times at which the mesh was down: skip them, or run once.")] = "skip",
    timeout: Annotated[str | None, typer.Option(help="Longest time of an attempt, such as 10s.")] = None,
    attempts: Annotated[int, typer.Option(min=0, max=100, show_default="3 for a function, 1 for a script",
                                          help="Tries at most.")] = 0,
    workspace: Workspace = DEFAULT_WORKSPACE,
    server: Server = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Make a schedule and print its identifier and its next time.

    **Example**: `fnmesh schedule add "*/5 * * * *" hello`
    """
    if (function is None) == (script is None):
        raise CommandError("Name a function, or a file with --script, and not both.", 2)
    given = read_event(event)
    with mesh_at(server, workspace) as mesh:
        made = mesh.schedules.add(
            cron, function, given, script=script, time_zone=time_zone, missed_runs=missed, timeout=timeout,
            max_attempts=attempts,
        )  # fmt: skip
    if as_json:
        print_json(to_json(made))
    else:
        print(f"{made.uid} runs next at {clock(made.next_time)}.")


@app.command("list")
def list_schedules(workspace: Workspace = DEFAULT_WORKSPACE, server: Server = None, as_json: Json = False) -> None:
    """List schedules, newest first.

    **Example**: `fnmesh schedule list`
    """
    with mesh_at(server, workspace) as mesh:
        found = mesh.schedules.list()
    if as_json:
        print_messages("schedules", found)
        return
    print_table(
        ("SCHEDULE", "CRON", "ZONE", "WORK", "NEXT", "LAST", ""),
        (
            (
                one.uid,
                one.cron,
                one.time_zone or "UTC",
                one.job.function_display_name or "script",
                clock(one.next_time),
                clock(one.last_time),
                one.error,
            )
            for one in found
        ),
    )


@app.command("delete")
def delete(
    schedule: Annotated[str, typer.Argument(metavar="SCHEDULE", help="Identifier, as `fnmesh schedule list` shows.")],
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Delete a schedule; jobs that it made stay.

    **Example**: `fnmesh schedule delete sc-abcdefghijkl`
    """
    with mesh_at(server) as mesh:
        mesh.schedules.delete(schedule)
    if as_json:
        print_json({})
    else:
        print(f"{schedule} is deleted.")
