"""`fnmesh db upgrade|backup`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from cli.options import DataDir, Json
from cli.output import print_json

app = typer.Typer(no_args_is_help=True, help="The mesh's databases.")


@app.command("upgrade")
def upgrade(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Bring the tables of all services to this version's form; `fnmesh up` does it by itself.

    **Example**: `FNMESH_DATABASE_URL=postgresql://mesh@db/fnmesh fnmesh db upgrade`
    """
    from cli.offline import upgrade_databases

    upgraded = upgrade_databases(data_dir, os.environ)
    if as_json:
        print_json({"upgraded": upgraded})
    else:
        print(f"The tables of {', '.join(upgraded)} are up to date.")


@app.command("backup")
def backup(
    directory: Annotated[Path, typer.Argument(metavar="DIRECTORY", help="Where to write it; must not be there yet.")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Copy databases, blobs and the key file to a directory, while the mesh runs or not.

    docs/operations.md says how to restore it.

    **Example**: `fnmesh db backup /var/backups/fnmesh/monday`
    """
    from cli.backup import back_up
    from fnmesh.client.units import show_bytes

    made = back_up(directory, data_dir, os.environ)
    if as_json:
        print_json(
            {
                "directory": str(made.directory),
                "databases": made.databases,
                "blobs": made.blobs,
                "sizeBytes": made.size_bytes,
                "elsewhere": made.elsewhere,
            }
        )
        return
    print(
        f"{made.directory}: {len(made.databases)} databases, {made.blobs} blobs and the key file, "
        f"{show_bytes(made.size_bytes)}. Whoever has it can read env and secrets: keep it private."
    )
    for sentence in made.elsewhere:
        print(f"Not in it: {sentence}.")
