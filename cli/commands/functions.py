"""`fnmesh list`, `show`, `rollback`, `delete`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.calling import mesh_at
from cli.options import DEFAULT_WORKSPACE, Json, Name, Server, Workspace
from cli.output import ago, print_facts, print_json, print_messages, print_table, to_json, word

if TYPE_CHECKING:
    from fnmesh.deploy.v1 import deployment_pb2
    from fnmesh.registry.v1 import function_pb2


def list_functions(
    workspace: Annotated[
        str, typer.Option("--workspace", "-w", metavar="NAME", help="Of this workspace; `-` for all.")
    ] = "-",
    server: Server = None,
    as_json: Json = False,
) -> None:
    """List functions.

    **Example**: `fnmesh list --workspace default`
    """
    with mesh_at(server) as mesh:
        found = mesh.list(workspace=workspace)
        if as_json:
            print_messages("functions", found)
            return
        from fnmesh.client.names import revision_number
        from fnmesh.registry.v1 import function_pb2 as pb

        if not found:
            print("There are no functions; deploy one with `fnmesh deploy DIRECTORY`.")
            return
        print_table(
            ("NAME", "STATE", "REVISION", "RUNTIME", "TARGET", "URL", "UPDATED"),
            (
                (
                    one.display_name,
                    word(pb.DeploymentState, one.deployment_state, "DEPLOYMENT_STATE_"),
                    str(revision_number(one.serving_revision) or "-"),
                    word(pb.Runtime, one.runtime, "RUNTIME_"),
                    word(pb.Target, one.target, "TARGET_"),
                    f"{mesh.url}/api/{one.path}",
                    ago(one.update_time),
                )
                for one in found
            ),
        )


def show(
    name: Name,
    reveal_env: Annotated[bool, typer.Option("--reveal-env", help="Show env values (scope admin).")] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Show a function: its settings, revisions and instances.

    **Example**: `fnmesh show hello`
    """
    with mesh_at(server, workspace) as mesh:
        from fnmesh.client import NotFound
        from fnmesh.deploy.v1 import deployment_pb2

        function, revisions = mesh.show(name, reveal_env=reveal_env), mesh.revisions(name)
        try:
            deployment = mesh.deployment(name)
        except NotFound:
            deployment = deployment_pb2.Deployment()
        if as_json:
            print_json(
                {
                    "function": to_json(function),
                    "revisions": [to_json(revision) for revision in revisions],
                    "deployment": to_json(deployment),
                    "url": f"{mesh.url}/api/{function.path}",
                }
            )
            return
        if not function.target:  # it names none, so its revision has the one that was chosen
            serving = [one for one in revisions if one.name == function.serving_revision]
            function.target = serving[0].target if serving else function.target
        _show_function(function, f"{mesh.url}/api/{function.path}")
        _show_revisions(revisions, function.serving_revision)
        _show_instances(deployment)


def _show_function(function: function_pb2.Function, url: str) -> None:
    from fnmesh.client.names import last_part
    from fnmesh.client.units import show_bytes, show_duration
    from fnmesh.registry.v1 import function_pb2 as pb

    state = word(pb.DeploymentState, function.deployment_state, "DEPLOYMENT_STATE_")
    limits = function.limits
    print_facts(
        (
            ("name", f"{function.display_name} ({function.uid})"),
            ("url", url),
            ("methods", ", ".join(function.methods) or "all"),
            ("state", f"{state}: {function.deployment_message}" if function.deployment_message else state),
            (
                "serving",
                last_part(function.serving_revision) and f"revision {last_part(function.serving_revision)}",
            ),
            ("runtime", word(pb.Runtime, function.runtime, "RUNTIME_")),
            ("target", word(pb.Target, function.target, "TARGET_")),
            ("cluster", _cluster(function) if function.target == pb.TARGET_KUBERNETES else ""),
            (
                "limits",
                f"{show_bytes(limits.memory_bytes)}, {limits.cpu_millis / 1000:g} CPU, "
                f"{show_duration(limits.timeout.ToTimedelta().total_seconds())}, "
                f"{limits.concurrency} at once",
            ),
            ("access", word(pb.Access, function.access, "ACCESS_")),
            ("env", ", ".join(f"{key}={value}" for key, value in sorted(function.env.items()))),
            ("description", function.description),
            ("updated", ago(function.update_time)),
        )
    )


def _cluster(function: function_pb2.Function) -> str:
    """Where on a cluster it is, and how; what it does not say is for the mesh's settings to say."""
    found = function.cluster
    scaling = function.scaling
    pods = f"{max(1, scaling.min_instances)} to {scaling.max_instances} pods" if found.autoscaling else ""
    parts = {
        "context": found.context,
        "namespace": found.namespace,
        "app": found.app_name,
        "service account": found.service_account,
        "pull secrets": " ".join(found.image_pull_secrets),
    }
    shown = [f"{name} {value}" for name, value in parts.items() if value]
    return ", ".join([*shown, *([pods] if pods else []), *(["spot nodes"] if found.use_spot else [])]) or "defaults"


def _show_revisions(revisions: object, serving: str) -> None:
    from collections.abc import Sequence

    from fnmesh.client.units import show_bytes
    from fnmesh.registry.v1 import revision_pb2

    assert isinstance(revisions, Sequence)
    if not revisions:
        return
    print()
    print_table(
        ("REVISION", "STATE", "ARTIFACT", "SIZE", "ENV", "MADE", ""),
        (
            (
                str(one.number),
                word(revision_pb2.RevisionState, one.state, "REVISION_STATE_"),
                one.artifact.digest.removeprefix("sha256:")[:12] or "-",
                show_bytes(one.artifact.size_bytes) if one.artifact.size_bytes else "-",
                ", ".join(one.env_keys) or "-",
                ago(one.create_time),
                "serving" if one.name == serving else one.error,
            )
            for one in revisions
        ),
    )


def _show_instances(deployment: deployment_pb2.Deployment) -> None:
    from fnmesh.deploy.v1 import deployment_pb2 as pb

    if not deployment.instances:
        return
    print()
    print_table(
        ("INSTANCE", "REVISION", "STATE", "STARTED", "HANDLE", ""),
        (
            (
                one.uid,
                str(one.revision),
                word(pb.InstanceState, one.state, "INSTANCE_STATE_"),
                ago(one.start_time),
                one.handle,
                one.message,
            )
            for one in deployment.instances
        ),
    )


def rollback(
    name: Name,
    to: Annotated[
        int,
        typer.Option("--to", metavar="REV", min=0, help="Revision number.", show_default="the one before"),
    ] = 0,
    wait: Annotated[bool, typer.Option(help="Wait until it serves.")] = True,
    workspace: Workspace = DEFAULT_WORKSPACE,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Bring back an earlier revision, code and env together.

    **Example**: `fnmesh rollback hello --to 3`
    """
    with mesh_at(server, workspace) as mesh:
        function = mesh.rollback(name, to)
        if wait:
            mesh.wait_ready(function)
            function = mesh.show(name)
        if as_json:
            print_json(to_json(function))
        else:
            from fnmesh.client.names import revision_number

            print(f"{function.display_name} serves revision {revision_number(function.serving_revision)}.")


def delete(
    name: Name,
    workspace: Workspace = DEFAULT_WORKSPACE,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Stop and delete a function, with its revisions and logs.

    **Example**: `fnmesh delete hello`
    """
    with mesh_at(server, workspace) as mesh:
        mesh.delete(name)
    if as_json:
        print_json({})
    else:
        print(f"{name} is deleted.")
