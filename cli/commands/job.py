"""`fnmesh job run|list|show|logs|cancel|redrive`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.calling import mesh_at
from cli.commands.invoke import read_event
from cli.errors import CommandError
from cli.options import DEFAULT_WORKSPACE, Json, Limit, Server, Workspace
from cli.output import ago, between, clock, print_facts, print_json, print_messages, print_table, span, to_json, word

if TYPE_CHECKING:
    from fnmesh.client import Mesh
    from fnmesh.invoke.v1 import job_pb2

app = typer.Typer(no_args_is_help=True, help="Jobs: scripts and functions that run without anybody waiting.")
JobName = Annotated[str, typer.Argument(metavar="JOB", help="Identifier of the job, as `fnmesh job list` shows it.")]


@app.command("run")
def run(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="A script, run from top to bottom.")] = None,
    function: Annotated[str | None, typer.Option("--function", "-f", help="Invoke this function instead.")] = None,
    event: Annotated[
        str, typer.Option("--event", "-d", metavar="JSON", help="The event; @FILE reads a file, @- stdin.")
    ] = "{}",
    timeout: Annotated[str | None, typer.Option(help="Longest time of an attempt, such as 10s.")] = None,
    attempts: Annotated[int, typer.Option(min=0, max=100, show_default="3 for a function, 1 for a script",
                                          help="Tries at most.")] = 0,
    language: Annotated[str | None, typer.Option(show_default="by the file's name", help="python or node.")] = None,
    target: Annotated[str | None, typer.Option(show_default="as the mesh is set", help="process or docker.")] = None,
    memory: Annotated[str | None, typer.Option(show_default="256Mi", help="Memory of a script.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Show what it prints, and wait for its end.")] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
    server: Server = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Start a job and print its identifier; with --wait exit 1 where it does not succeed.

    **Example**: `fnmesh job run report.py --event '{"day": 1}' --wait`
    """
    if (file is None) == (function is None):
        raise CommandError("Name a script, or a function with --function, and not both.", 2)
    if file is None and (language or target or memory):
        raise CommandError("--language, --target and --memory are about scripts; a function has its own.", 2)
    given = read_event(event)
    with mesh_at(server, workspace) as mesh:
        if file is None:
            job = mesh.jobs.run(str(function), given, timeout=timeout, max_attempts=attempts)
        else:
            job = mesh.jobs.run_script(
                file, given, language=language, target=target, memory=memory, timeout=timeout, max_attempts=attempts
            )
        if wait:
            job = _follow(mesh, job.name, quiet=as_json)
        if as_json:
            print_json(to_json(job))
        elif not wait:
            print(job.uid)
        elif job.result:
            sys.stdout.flush()
            sys.stdout.buffer.write(job.result + (b"" if job.result.endswith(b"\n") else b"\n"))
        if wait:
            _check(job)


@app.command("list")
def list_jobs(
    state: Annotated[list[str] | None, typer.Option("--state", "-s", help="Only these, such as dead.")] = None,
    limit: Limit = 20,
    workspace: Workspace = DEFAULT_WORKSPACE,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """List jobs, newest first.

    **Example**: `fnmesh job list --state dead`
    """
    with mesh_at(server, workspace) as mesh:
        found = mesh.jobs.list(states=state or (), limit=limit)
        if as_json:
            print_messages("jobs", found)
            return
        from fnmesh.invoke.v1 import job_pb2 as pb

        print_table(
            ("JOB", "STATE", "WORK", "ATTEMPT", "TOOK", "MADE", ""),
            (
                (
                    one.uid,
                    word(pb.JobState, one.state, "JOB_STATE_"),
                    _work(one),
                    f"{one.attempt}/{one.max_attempts}",
                    between(one.start_time, one.end_time),
                    ago(one.create_time),
                    one.error,
                )
                for one in found
            ),
        )


@app.command("show")
def show(job: JobName, server: Server = None, as_json: Json = False) -> None:
    """Show a job, its event and its result.

    **Example**: `fnmesh job show 4f2c0e5a-...`
    """
    with mesh_at(server) as mesh:
        one = mesh.jobs.get(job)
    if as_json:
        print_json(to_json(one))
        return
    from fnmesh.invoke.v1 import job_pb2 as pb

    print_facts(
        (
            ("job", one.uid),
            ("workspace", one.workspace_display_name),
            ("state", word(pb.JobState, one.state, "JOB_STATE_")),
            ("work", _work(one)),
            ("attempt", f"{one.attempt} of {one.max_attempts}"),
            ("timeout", span(one.timeout) if one.HasField("timeout") else ""),
            ("made", clock(one.create_time)),
            ("started", clock(one.start_time)),
            ("ended", clock(one.end_time)),
            ("next try", clock(one.retry_time) if one.HasField("retry_time") else ""),
            ("exit code", str(one.exit_code) if one.HasField("exit_code") else ""),
            ("status", str(one.status_code or "")),
            ("error", one.error),
            ("event", _shown(one.event)),
            ("result", _shown(one.result)),
            ("trace", one.trace_id),
        )
    )


@app.command("logs")
def logs(
    job: JobName,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Show what a script has printed; with --json one line of JSON each.

    **Example**: `fnmesh job logs -f 4f2c0e5a-...`
    """
    with mesh_at(server) as mesh:
        if follow:
            _follow(mesh, job, as_json=as_json)
            return
        pieces = mesh.jobs.log(job)
        if as_json:
            for line in b"".join(pieces).splitlines():
                print_json({"text": line.decode(errors="replace")}, lines=True)
            return
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.flush()


@app.command("cancel")
def cancel(job: JobName, server: Server = None, as_json: Json = False) -> None:
    """Stop a job; one that has ended stays as it is.

    **Example**: `fnmesh job cancel 4f2c0e5a-...`
    """
    with mesh_at(server) as mesh:
        mesh.jobs.cancel(job)
        _say(mesh.jobs.wait(job), as_json)


@app.command("redrive")
def redrive(job: JobName, server: Server = None, as_json: Json = False) -> None:
    """Start a job again that has failed, timed out, was cancelled or is dead.

    **Example**: `fnmesh job redrive 4f2c0e5a-...`
    """
    with mesh_at(server) as mesh:
        _say(mesh.jobs.redrive(job), as_json)


def _follow(mesh: Mesh, job: str, *, quiet: bool = False, as_json: bool = False) -> job_pb2.Job:
    """Prints the lines of a job until its end, as JSON if so wanted; the job then."""
    from fnmesh.invoke.v1 import job_pb2 as pb

    last = pb.Job()
    for message in mesh.jobs.watch(job):
        if message.WhichOneof("message") == "job":
            last = message.job
        elif as_json:
            print_json(to_json(message.line), lines=True)
        elif not quiet:
            print(message.line.text, file=sys.stdout if message.line.stream <= pb.JOB_LOG_STREAM_STDOUT else sys.stderr)
            sys.stdout.flush()
    return last


def _check(job: job_pb2.Job) -> None:
    from fnmesh.invoke.v1 import job_pb2 as pb

    if job.state != pb.JOB_STATE_SUCCESS:
        state = word(pb.JobState, job.state, "JOB_STATE_").upper()
        why = job.error.partition(": ")[2] or job.error
        raise CommandError(f"The job ended {state}: {why} `fnmesh job show {job.uid}` shows more.")


def _say(job: job_pb2.Job, as_json: bool) -> None:
    from fnmesh.invoke.v1 import job_pb2 as pb

    if as_json:
        print_json(to_json(job))
    else:
        print(f"{job.uid} is {word(pb.JobState, job.state, 'JOB_STATE_')}.")


def _work(job: job_pb2.Job) -> str:
    if job.WhichOneof("work") == "function":
        return f"function {job.function_display_name}"
    return job.code_key


def _shown(content: bytes) -> str:
    text = content.decode(errors="replace")
    return text if len(text) <= 1000 else f"{text[:1000]}... ({len(content)} bytes)"
