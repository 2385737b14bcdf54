"""`fnmesh db upgrade`."""

from __future__ import annotations

import os

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
