"""`fnmesh up`."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from cli.options import DataDir


def up(
    data_dir: DataDir = None,
    listen: Annotated[
        str | None,
        typer.Option("--listen", envvar="FNMESH_UP_LISTEN", metavar="HOST:PORT",
                     show_default="127.0.0.1:8080",
                     help="Where it answers; port 0 takes a free one. Others than 127.0.0.1 need API keys."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the ready line as JSON.")] = False,
) -> None:  # fmt: skip
    """Run the mesh in the foreground; Ctrl-C drains and stops it.

    **Example**: `fnmesh up --listen 127.0.0.1:9000`
    """
    from cli.up.command import run_up

    run_up(data_dir, listen, os.environ, as_json=as_json)
