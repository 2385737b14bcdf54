"""Options that many commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Server = Annotated[
    str | None,
    typer.Option("--server", envvar="FNMESH_SERVER", metavar="HOST:PORT", show_default="127.0.0.1:8080",
                 help="The mesh to talk to."),
]  # fmt: skip
Json = Annotated[bool, typer.Option("--json", help="Print JSON: the messages of the API, as proto3 JSON.")]
Workspace = Annotated[str, typer.Option("--workspace", "-w", metavar="NAME", help="Workspace of the function.")]
Name = Annotated[str, typer.Argument(metavar="FUNCTION", help="Name of the function.")]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", envvar="FNMESH_DATA_DIR", metavar="DIR",
                 show_default="~/.local/share/fnmesh, or /var/lib/fnmesh for root",
                 help="Where the mesh keeps its data."),
]  # fmt: skip
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="At most this many.")]

DEFAULT_WORKSPACE = "default"


def parse_pairs(pairs: list[str]) -> dict[str, str]:
    """`K=V` texts as a mapping. Raises typer.BadParameter for one without `=`."""
    parsed: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"'{pair}' is not of the form KEY=VALUE.")
        parsed[key] = value
    return parsed
