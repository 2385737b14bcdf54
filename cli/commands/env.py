"""`fnmesh env set|unset|list`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.calling import mesh_at
from cli.options import DEFAULT_WORKSPACE, Json, Name, Server, Workspace, parse_pairs
from cli.output import print_json, to_json

if TYPE_CHECKING:
    from fnmesh.client import Mesh
    from fnmesh.registry.v1 import function_pb2

app = typer.Typer(no_args_is_help=True, help="Environment variables of a function; changing them builds nothing.")
Wait = Annotated[bool, typer.Option(help="Wait until instances with the new values serve.")]


@app.command("set")
def set_env(
    name: Name,
    pairs: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...")],
    wait: Wait = True,
    workspace: Workspace = DEFAULT_WORKSPACE,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Set variables.

    **Example**: `fnmesh env set hello GREETING=hi`
    """
    values = parse_pairs(pairs)
    with mesh_at(server, workspace) as mesh:
        _settle(mesh, mesh.env_set(name, values), wait=wait, as_json=as_json)


@app.command("unset")
def unset_env(
    name: Name,
    keys: Annotated[list[str], typer.Argument(metavar="KEY...")],
    wait: Wait = True,
    workspace: Workspace = DEFAULT_WORKSPACE,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Remove variables.

    **Example**: `fnmesh env unset hello GREETING`
    """
    with mesh_at(server, workspace) as mesh:
        _settle(mesh, mesh.env_unset(name, keys), wait=wait, as_json=as_json)


@app.command("list")
def list_env(
    name: Name,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show the values (scope admin).")] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """List variables; values are shown with --reveal only.

    **Example**: `fnmesh env list hello --reveal`
    """
    with mesh_at(server, workspace) as mesh:
        env = dict(sorted(mesh.show(name, reveal_env=reveal).env.items()))
    if as_json:
        print_json({"env": env})
    else:
        for key, value in env.items():
            print(f"{key}={value}")


def _settle(mesh: Mesh, function: function_pb2.Function, *, wait: bool, as_json: bool) -> None:
    from fnmesh.client.names import revision_number

    if wait and function.running and function.serving_revision:
        mesh.wait_ready(function)
    if as_json:
        print_json(to_json(function))
        return
    keys = ", ".join(sorted(function.env)) or "none"
    number = revision_number(function.serving_revision)
    serving = f"; revision {number} serves" if number and wait and function.running else ""
    print(f"{function.display_name} has the variables {keys}{serving}.")
