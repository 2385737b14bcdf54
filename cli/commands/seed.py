"""`fnmesh seed`."""

from __future__ import annotations

from pathlib import Path

from cli.calling import mesh_at
from cli.options import Json, Server
from cli.output import print_messages

SEEDS = Path(__file__).parent.parent / "seeds"
EXAMPLES = {1001: "python_lambda", 1002: "node_lambda"}


def seed(server: Server = None, as_json: Json = False) -> None:
    """Make the two examples that older clients know as callbacks 1001 and 1002. Twice does no harm.

    **Example**: `fnmesh seed`
    """
    with mesh_at(server) as mesh:
        there = {function.number for function in mesh.list(workspace="default")}
        made = [
            mesh.create(SEEDS / directory, number=number)
            for number, directory in EXAMPLES.items()
            if number not in there
        ]
        if as_json:
            print_messages("functions", made)
            return
        for function in made:
            print(f"{function.number}  {function.display_name}, answers at /api/{function.path} once it is deployed:")
            print(f'      POST /deploy/ with {{"callback_id": {function.number}, "status": true}}.')
        if not made:
            print("The examples 1001 and 1002 are there already.")
