"""What happened: logs, executions, traces."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import httpx

from fnmesh.client import Mesh, NotFound
from fnmesh.trace.v1 import trace_service_pb2
from tests.e2e.conftest import MakeSource
from tests.support.eventually import eventually_sync
from tests.support.running_mesh import ROOT, RunningMesh

TALKING = """
    import sys

    def handler(event, context):
        print("out loud")
        print("aside", file=sys.stderr)
        if (event.get("queryStringParameters") or {}).get("fail"):
            raise ValueError("as asked")
        return {"traceparent": (event.get("headers") or {}).get("traceparent", "")}
"""
CRASHING = """
    import os

    def handler(event, context):
        if "end" in (event.get("queryStringParameters") or {}):
            os._exit(3)
        return "alive"
"""


def test_printed_lines_reach_the_log_with_their_trace(
    mesh: RunningMesh, http: httpx.Client, client: Mesh, make_source: MakeSource
) -> None:
    mesh.cli("deploy", str(make_source("talking", **{"handler.py": TALKING})), "--target", "process")

    trace_id = http.get("/api/talking").headers["x-trace-id"]
    entries = eventually_sync(lambda: (got := list(client.logs("talking", trace_id=trace_id)))[1:] and got, 30)

    assert sorted(entry.text for entry in entries) == ["aside", "out loud"]
    assert {entry.trace_id for entry in entries} == {trace_id}
    assert "out loud" in mesh.cli("logs", "talking", "--tail", "10").stdout


def test_logs_can_be_followed(mesh: RunningMesh, http: httpx.Client, make_source: MakeSource) -> None:
    mesh.cli("deploy", str(make_source("followed", **{"handler.py": TALKING})), "--target", "process")
    with subprocess.Popen(
        [sys.executable, "-m", "cli", "logs", "followed", "-f"], stdout=subprocess.PIPE, text=True,
        cwd=ROOT, env={**os.environ, **mesh.environ, "FNMESH_SERVER": mesh.server, "PYTHONUNBUFFERED": "1"},
            # A runner in the background of a shell has SIGINT ignored, and its children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as following:  # fmt: skip
        assert following.stdout is not None
        assert "Started revision 1" in following.stdout.readline()
        http.get("/api/followed")
        lines = {following.stdout.readline().split()[-1] for _ in range(2)}
        following.send_signal(signal.SIGINT)
        try:
            assert following.wait(30) == 130
        finally:
            following.kill()
    assert lines == {"loud", "aside"}


def test_executions_tell_of_every_run(
    mesh: RunningMesh, http: httpx.Client, client: Mesh, make_source: MakeSource
) -> None:
    mesh.cli("deploy", str(make_source("ran", **{"handler.py": TALKING})), "--target", "process")
    good = http.get("/api/ran?a=1")
    bad = http.get("/api/ran?fail=1")
    client.invoke("ran", {})

    runs = eventually_sync(lambda: (got := client.executions("ran"))[2:] and got, 30)

    assert bad.status_code == 500
    assert bad.json()["errorType"] == "ValueError"
    by_trace = {run.trace_id: run for run in runs}
    assert (by_trace[good.headers["x-trace-id"]].status_code, len(runs)) == (200, 3)
    failed = by_trace[bad.headers["x-trace-id"]]
    assert (failed.status_code, failed.failed, failed.request_line) == (500, True, "GET /api/ran")
    assert "HANDLER_ERROR" in failed.error
    shown = mesh.cli("executions", "ran").stdout
    assert len(shown.splitlines()) == 4
    assert bad.headers["x-trace-id"] in shown


def _spans(client: Mesh, trace_id: str, least: int) -> list[trace_service_pb2.Span]:
    def complete() -> list[trace_service_pb2.Span]:
        try:
            spans = list(client.trace(trace_id).spans)
        except NotFound:
            return []
        return spans if len(spans) >= least else []

    return eventually_sync(complete, 15)


def test_trace_is_one_tree_from_envoy_to_the_workload(
    mesh: RunningMesh, http: httpx.Client, client: Mesh, make_source: MakeSource
) -> None:
    mesh.cli("deploy", str(make_source("traced", **{"handler.py": TALKING})), "--target", "process")
    answer = http.get("/api/traced")
    trace_id = answer.headers["x-trace-id"]

    spans = _spans(client, trace_id, 3)

    assert answer.json()["traceparent"].split("-")[1] == trace_id
    assert {"envoy", "invoke"} <= {span.service for span in spans}
    known = {span.span_id for span in spans}
    assert len([span for span in spans if span.parent_span_id not in known]) == 1
    assert any("workload" in span.display_name for span in spans)
    assert answer.json()["traceparent"].split("-")[2] in known
    tree = mesh.cli("trace", trace_id).stdout
    assert tree.splitlines()[0].startswith("GET /api/traced")
    assert "└── " in tree


def _names_in_one_tree(client: Mesh, trace_id: str, wanted: set[str]) -> set[str]:
    """Names of the spans of a trace, once those wanted are there and all hang together."""

    def complete() -> set[str]:
        spans = _spans(client, trace_id, 1)
        names, known = {span.display_name for span in spans}, {span.span_id for span in spans}
        roots = [span for span in spans if span.parent_span_id not in known]
        return names if wanted <= names and len(roots) == 1 else set()

    return eventually_sync(complete, 20)


def test_build_and_deploy_are_one_trace(mesh: RunningMesh, client: Mesh, make_source: MakeSource) -> None:
    source = make_source("traced-build", **{"handler.py": TALKING + "    # built by no other test\n"})
    mesh.cli("deploy", str(source), "--target", "process")
    with (source / "handler.py").open("a") as file:
        file.write("# nor is this\n")
    mesh.cli("deploy", str(source), "--target", "process")

    second, first = client.builds("traced-build")

    names = _names_in_one_tree(client, first.trace_id, {"build install", "deploy.start_instance"})
    assert "deploy.stop_instance" not in names
    _names_in_one_tree(client, second.trace_id, {"build install", "deploy.start_instance", "deploy.stop_instance"})


def test_restart_of_a_crashed_instance_is_not_in_the_trace_of_its_deploy(
    mesh: RunningMesh, client: Mesh, http: httpx.Client, make_source: MakeSource
) -> None:
    source = make_source("traced-crash", **{"handler.py": CRASHING})
    mesh.cli("deploy", str(source), "--target", "process")
    (build,) = client.builds("traced-crash")
    _names_in_one_tree(client, build.trace_id, {"deploy.start_instance"})

    assert http.get("/api/traced-crash?end").status_code == 502
    eventually_sync(lambda: http.get("/api/traced-crash").status_code == 200, 20)

    spans = _spans(client, build.trace_id, 1)
    assert [span.display_name for span in spans].count("deploy.start_instance") == 1


def test_trace_that_is_not_there(mesh: RunningMesh) -> None:
    done = mesh.cli("trace", "0" * 31 + "1", check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
