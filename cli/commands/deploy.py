"""`fnmesh deploy`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cli.calling import mesh_at
from cli.errors import CommandError
from cli.options import DEFAULT_WORKSPACE, Json, Server, parse_pairs

if TYPE_CHECKING:
    from fnmesh.client import Deploy

_CLUSTER = "On a cluster (--target kubernetes)"


def deploy(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A directory, a single file or a .zip.")],
    name: Annotated[str | None, typer.Option(help="Name; that of the source where not given.")] = None,
    path: Annotated[str | None, typer.Option(help="Answers at /api/PATH; its name where not given.")] = None,
    method: Annotated[list[str] | None, typer.Option("--method", help="HTTP method; repeat it.")] = None,
    target: Annotated[str | None, typer.Option(help="process, docker, spin or kubernetes.")] = None,
    runtime: Annotated[str | None, typer.Option(help="python, node or spin; found out where not given.")] = None,
    env: Annotated[list[str] | None, typer.Option("--env", "-e", metavar="K=V", help="Repeat it.")] = None,
    memory: Annotated[str | None, typer.Option(help="Of each instance, such as 256Mi.")] = None,
    cpu: Annotated[str | None, typer.Option(help="CPUs of each instance, such as 0.5.")] = None,
    timeout: Annotated[str | None, typer.Option(help="Of a request, such as 10s.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Requests at once in an instance.")] = None,
    min_instances: Annotated[
        int | None, typer.Option(help="Instances that are always there; 0: none where nobody asks.")
    ] = None,
    max_instances: Annotated[int | None, typer.Option(help="Most instances.")] = None,
    idle_ttl: Annotated[
        str | None, typer.Option(help="How long an idle one is kept with --min-instances 0, such as 5m.")
    ] = None,
    event_format: Annotated[str | None, typer.Option(help="v2 (HTTP event) or body.")] = None,
    access: Annotated[str | None, typer.Option(help="public or key.")] = None,
    handler: Annotated[str | None, typer.Option(help="What to call in the entry file.")] = None,
    description: Annotated[str | None, typer.Option(help="Free text.")] = None,
    label: Annotated[list[str] | None, typer.Option("--label", metavar="K=V", help="Repeat it.")] = None,
    context: Annotated[
        str | None, typer.Option(help="Which cluster: a context of the mesh's kubeconfig.", rich_help_panel=_CLUSTER)
    ] = None,
    namespace: Annotated[str | None, typer.Option(help="Of the cluster.", rich_help_panel=_CLUSTER)] = None,
    app_name: Annotated[
        str | None, typer.Option(help="Name on the cluster; the function's where not given.", rich_help_panel=_CLUSTER)
    ] = None,
    service_account: Annotated[str | None, typer.Option(help="Of its pods.", rich_help_panel=_CLUSTER)] = None,
    use_spot: Annotated[
        bool | None, typer.Option(help="On nodes that may be taken away at short notice.", rich_help_panel=_CLUSTER)
    ] = None,
    autoscaling: Annotated[
        bool | None, typer.Option(help="The cluster changes the number of pods.", rich_help_panel=_CLUSTER)
    ] = None,
    pull_secret: Annotated[
        list[str] | None,
        typer.Option("--pull-secret", metavar="NAME", help="Pulls its image; repeat it.", rich_help_panel=_CLUSTER),
    ] = None,
    workspace: Annotated[str | None, typer.Option("--workspace", "-w", metavar="NAME")] = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Build a source and run it; prints where it answers.

    Settings may stand in the source's fnmesh.toml, under the names of these options; options win.

    **Example**: `fnmesh deploy hello --memory 256Mi --env GREETING=hi`
    """
    with mesh_at(server, workspace or DEFAULT_WORKSPACE) as mesh:
        from fnmesh.client import FunctionSettings

        settings = FunctionSettings(
            name=name, workspace=workspace, path=path, methods=method, description=description,
            runtime=runtime, target=target, env=parse_pairs(env) if env else None, memory=memory, cpu=cpu,
            timeout=timeout, concurrency=concurrency, event_format=event_format, access=access,
            handler=handler, labels=parse_pairs(label) if label else None,
            min_instances=min_instances, max_instances=max_instances, idle_ttl=idle_ttl,
            context=context, namespace=namespace, app_name=app_name, service_account=service_account,
            use_spot=use_spot, autoscaling=autoscaling, pull_secrets=pull_secret,
        )  # fmt: skip
        _deploy(mesh.deploy(source, settings), as_json=as_json)


def _deploy(deploy: Deploy, *, as_json: bool) -> None:
    from cli.output import print_json, to_json
    from cli.progress import show_deploy
    from fnmesh.client import BuildFailed, DeployFailed

    try:
        if not as_json:
            show_deploy(deploy)
        function = deploy.wait()
    except BuildFailed as error:
        if as_json:
            print_json({"function": to_json(deploy.function), "build": to_json(error.build), "url": ""})
        raise CommandError(f"The build failed: {error}") from None
    except DeployFailed as error:
        name = deploy.function.display_name
        raise CommandError(
            f"The build is done, but revision {deploy.revision} did not come up: {str(error).rstrip('.')}; "
            f"`fnmesh logs {name}` shows what it wrote."
        ) from None
    except TimeoutError:
        raise CommandError(
            "The deploy goes on, but took too long to wait for; "
            f"`fnmesh show {deploy.function.display_name}` tells how it is."
        ) from None
    if as_json:
        print_json({"function": to_json(function), "build": to_json(deploy.build), "url": deploy.url})
    else:
        print(deploy.url)
    serving = function.serving_revision.rpartition("/")[2]
    if serving and serving != str(deploy.revision):
        print(f"Revision {deploy.revision} was overtaken: revision {serving} serves now.", file=sys.stderr)
