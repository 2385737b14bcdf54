"""`fnmesh key create|list|revoke`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cli.calling import mesh_at
from cli.errors import CommandError
from cli.options import DataDir, Json, Server
from cli.output import ago, print_json, print_messages, print_table, to_json, word

if TYPE_CHECKING:
    from datetime import datetime

    from fnmesh.registry.v1 import api_key_pb2

app = typer.Typer(no_args_is_help=True, help="API keys, for a mesh with FNMESH_AUTH=keys.")


@app.command("create")
def create(
    scope: Annotated[list[str], typer.Option("--scope", help="admin, deploy or invoke; repeat it.")],
    name: Annotated[str, typer.Option("--name", help="What it is for.")] = "",
    workspace: Annotated[str | None, typer.Option("--workspace", "-w", help="Good for this one only.")] = None,
    expires: Annotated[str | None, typer.Option("--expires", metavar="DURATION", help="Such as 720h.")] = None,
    save: Annotated[bool, typer.Option("--save", help="Keep it for this user's later commands.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Make the first admin key, no mesh running.")] = False,
    data_dir: DataDir = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Make a key and print its secret, this once.

    **Example**: `fnmesh key create --scope deploy --name ci --workspace demo`
    """
    if offline:
        from cli.offline import create_admin_key

        if scope != ["admin"] or workspace or expires:
            raise CommandError("Only a key with `--scope admin`, for all workspaces, can be made offline.", 2)
        secret = create_admin_key(data_dir, name, os.environ)
        shown: object = {"secret": secret}
    else:
        with mesh_at(server) as mesh:
            made = mesh.create_key(scope, display_name=name, workspace=workspace, expires=_expiry(expires))
        shown, secret = to_json(made), made.secret
    if save:
        from cli.credentials import save_key

        where = save_key(secret)
        print(f"Saved in {where}.", file=sys.stderr)
    if as_json:
        print_json(shown)
    else:
        print(secret)
        if not save:
            print("This is the only time it is shown; commands take it from FNMESH_API_KEY.", file=sys.stderr)


@app.command("list")
def list_keys(server: Server = None, as_json: Json = False) -> None:
    """List keys, revoked ones too; their secrets are nowhere.

    **Example**: `fnmesh key list`
    """
    with mesh_at(server) as mesh:
        keys = mesh.keys()
    if as_json:
        print_messages("apiKeys", keys)
        return
    from datetime import UTC, datetime

    from fnmesh.client.names import last_part
    from fnmesh.registry.v1 import api_key_pb2 as pb

    now = datetime.now(UTC)
    print_table(
        ("KEY", "NAME", "SCOPES", "WORKSPACE", "STATE", "MADE"),
        (
            (
                last_part(one.name),
                one.display_name or "-",
                ", ".join(word(pb.Scope, scope, "SCOPE_") for scope in one.scopes),
                last_part(one.workspace) or "all",
                _state(one, now),
                ago(one.create_time),
            )
            for one in keys
        ),
    )


@app.command("revoke")
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="As `fnmesh key list` shows it.")],
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Revoke a key; within 10 seconds nothing takes it any more.

    **Example**: `fnmesh key revoke k-abc123`
    """
    with mesh_at(server) as mesh:
        revoked = mesh.revoke_key(key)
    if as_json:
        print_json(to_json(revoked))
    else:
        print(f"{key} is revoked.")


def _state(key: api_key_pb2.ApiKey, now: datetime) -> str:
    if key.HasField("revoke_time"):
        return "revoked"
    return "expired" if key.HasField("expire_time") and key.expire_time.ToDatetime(now.tzinfo) <= now else "ok"


def _expiry(text: str | None) -> datetime | None:
    if text is None:
        return None
    from datetime import UTC, datetime

    from fnmesh.client.units import parse_duration

    return datetime.now(UTC) + parse_duration(text)
