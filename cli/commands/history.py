"""`fnmesh builds`, `fnmesh executions`."""

from __future__ import annotations

from cli.calling import mesh_at
from cli.options import DEFAULT_WORKSPACE, Json, Limit, Name, Server, Workspace
from cli.output import ago, between, clock, print_messages, print_table, span, word


def builds(
    name: Name,
    limit: Limit = 20,
    workspace: Workspace = DEFAULT_WORKSPACE,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """List the builds of a function, newest first.

    **Example**: `fnmesh builds hello`
    """
    with mesh_at(server, workspace) as mesh:
        found = mesh.builds(name, limit)
        if as_json:
            print_messages("builds", found)
            return
        from fnmesh.build.v1 import build_pb2 as pb
        from fnmesh.client.names import revision_number

        print_table(
            ("BUILD", "STATE", "REVISION", "TOOK", "SOURCE", "STARTED", "TRACE", ""),
            (
                (
                    one.uid[:13],
                    word(pb.BuildState, one.state, "BUILD_STATE_"),
                    str(revision_number(one.revision) or "-"),
                    between(one.create_time, one.end_time),
                    one.source_digest.removeprefix("sha256:")[:12],
                    ago(one.create_time),
                    one.trace_id or "-",
                    "cached" if one.cached else one.error,
                )
                for one in found
            ),
        )


def executions(
    name: Name,
    limit: Limit = 20,
    workspace: Workspace = DEFAULT_WORKSPACE,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """List the runs of a function, newest first.

    **Example**: `fnmesh executions hello -n 5`
    """
    with mesh_at(server, workspace) as mesh:
        found = mesh.executions(name, limit)
        if as_json:
            print_messages("executions", found)
            return
        from fnmesh.invoke.v1 import invoke_pb2 as pb

        print_table(
            ("STARTED", "STATUS", "TOOK", "QUEUED", "COLD", "REVISION", "CALL", "TRACE", ""),
            (
                (
                    clock(one.start_time),
                    str(one.status_code),
                    span(one.duration),
                    span(one.queue_duration),
                    "yes" if one.cold_start else "",
                    str(one.revision or "-"),
                    one.request_line or word(pb.Trigger, one.trigger, "TRIGGER_"),
                    one.trace_id or "-",
                    one.error,
                )
                for one in found
            ),
        )
