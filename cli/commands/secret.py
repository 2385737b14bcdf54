"""`fnmesh secret set|list|delete`."""

from __future__ import annotations

import getpass
import re
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cli.calling import mesh_at
from cli.errors import CommandError
from cli.options import DEFAULT_WORKSPACE, Json, Name, Server, Workspace
from cli.output import ago, print_json, print_messages, print_table, to_json

if TYPE_CHECKING:
    from fnmesh.client import Mesh
    from fnmesh.registry.v1 import function_pb2

app = typer.Typer(
    no_args_is_help=True, help="Secrets of a function: environment variables whose values nothing shows again."
)
Key = Annotated[str, typer.Argument(metavar="KEY", help="Name of the environment variable.")]
Wait = Annotated[bool, typer.Option(help="Wait until instances with the new value serve.")]
_LONGEST = 64 * 1024
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@app.command("set", context_settings={"allow_extra_args": True})
def set_secret(
    context: typer.Context,
    name: Name,
    key: Key,
    wait: Wait = True,
    workspace: Workspace = DEFAULT_WORKSPACE,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Set a secret: its value is read from stdin, or asked for on a terminal. One newline at its end is left out.

    **Example**: `fnmesh secret set hello TOKEN < token.txt`
    """
    if context.args:
        raise CommandError(f"A value on the command line is seen by others; give that of {key} on stdin.", 2)
    if not _KEY.fullmatch(key):  # not repeated: people write KEY=VALUE
        raise CommandError(
            "That is not the name of a secret, which has letters, digits and _ only; the value comes on stdin.", 2
        )
    value = _read_value(key)
    with mesh_at(server, workspace) as mesh:
        function = mesh.secret_set(name, key, value)
        _settle(mesh, function, f"The secret {key} is set", wait=wait, as_json=as_json)


@app.command("list")
def list_secrets(
    name: Name,
    workspace: Workspace = DEFAULT_WORKSPACE,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """List the secrets by name, and when each was set; nothing shows their values.

    **Example**: `fnmesh secret list hello`
    """
    with mesh_at(server, workspace) as mesh:
        found = mesh.secrets(name)
    if as_json:
        print_messages("secrets", found)
    elif not found:
        print(f"{name} has no secrets; set one with `fnmesh secret set {name} KEY`.")
    else:
        print_table(("KEY", "SET"), ((one.key, ago(one.set_time)) for one in found))


@app.command("delete")
def delete(
    name: Name,
    key: Key,
    wait: Wait = True,
    workspace: Workspace = DEFAULT_WORKSPACE,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Delete a secret.

    **Example**: `fnmesh secret delete hello TOKEN`
    """
    with mesh_at(server, workspace) as mesh:
        function = mesh.secret_delete(name, key)
        _settle(mesh, function, f"The secret {key} is deleted", wait=wait, as_json=as_json)


def _read_value(key: str) -> str:
    """The value, from a terminal without echo, or all of stdin."""
    if sys.stdin is None:
        raise CommandError(f"There is no stdin to read the value of {key} from.", 2)
    if sys.stdin.isatty():
        try:
            value = getpass.getpass(f"Value of {key} (not shown): ")
        except EOFError:
            value = ""
    else:
        raw = sys.stdin.buffer.read(_LONGEST + 2)
        try:
            value = raw.decode()
        except UnicodeDecodeError:
            raise CommandError(f"The value of {key} is not UTF-8 text; encode it first, in base64 for one.") from None
        value = value.removesuffix("\n").removesuffix("\r")
        if len(raw) > _LONGEST:
            raise CommandError(f"The value of {key} has more than {_LONGEST:,} bytes, the most that secrets may have.")
    if not value:
        raise CommandError(
            f"The value of {key} is empty; give it on stdin: `fnmesh secret set FUNCTION {key} < file`.", 2
        )
    return value


def _settle(mesh: Mesh, function: function_pb2.Function, done: str, *, wait: bool, as_json: bool) -> None:
    from fnmesh.client.names import revision_number

    number = revision_number(function.serving_revision)
    if wait and function.running and number:
        mesh.wait_ready(function)
        done += f"; revision {number} serves"
    if as_json:
        print_json(to_json(function))
    else:
        print(f"{done}.")
