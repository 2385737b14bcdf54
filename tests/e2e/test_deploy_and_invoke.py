"""From a directory to an answer, over HTTP, gRPC and the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from fnmesh.build.v1 import build_pb2
from fnmesh.client import Mesh, NotFound
from tests.e2e.conftest import MakeSource
from tests.support.running_mesh import ROOT, RunningMesh

HELLO = """
    import json, os

    def handler(event, context):
        query = event.get("queryStringParameters") or {}
        name = event.get("name") or query.get("name") or "world"
        print("greeting", name)
        return {"statusCode": 200, "headers": {"content-type": "application/json", "x-greeting": "yes"},
                "cookies": ["a=1", "b=2"],
                "body": json.dumps({"hello": name, "env": os.environ.get("GREETING", "")})}
"""
NODE_HELLO = """
    export const handler = async (event) => {
      console.log("node greets");
      return { statusCode: 200, headers: { "content-type": "application/json" },
               body: JSON.stringify({ node: event.name ?? event.queryStringParameters?.name ?? "world" }) };
    };
"""


def test_python_function_answers_everywhere(
    mesh: RunningMesh, http: httpx.Client, client: Mesh, make_source: MakeSource
) -> None:
    source = make_source("hello-py", **{"handler.py": HELLO})

    deployed = mesh.cli("deploy", str(source), "--target", "process", "--env", "GREETING=hi")
    over_http = http.get("/api/hello-py", params={"name": "x"})
    over_grpc = client.invoke("hello-py", {"name": "y"})
    by_cli = mesh.cli("invoke", "hello-py", "-d", '{"name": "z"}')

    assert deployed.stdout.strip() == f"{mesh.url}/api/hello-py"
    assert over_http.status_code == 200
    assert over_http.json() == {"hello": "x", "env": "hi"}
    assert over_http.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert len(over_http.headers["x-trace-id"]) == 32
    assert (over_grpc.status, over_grpc.json()["hello"]) == (200, "y")
    assert ("x-greeting", "yes") in over_grpc.headers
    assert json.loads(by_cli.stdout)["hello"] == "z"


@pytest.mark.node
def test_node_function(mesh: RunningMesh, http: httpx.Client, make_source: MakeSource) -> None:
    source = make_source("hello-node", **{"index.mjs": NODE_HELLO, "package.json": '{"type": "module"}'})

    mesh.cli("deploy", str(source), "--target", "process")

    assert http.get("/api/hello-node?name=x").json() == {"node": "x"}
    assert json.loads(mesh.cli("invoke", "hello-node", "-d", '{"name": "z"}').stdout) == {"node": "z"}


def test_templates_run(mesh: RunningMesh, http: httpx.Client, tmp_path: Path) -> None:
    mesh.cli("new", str(tmp_path / "from-template"))
    mesh.cli("deploy", str(tmp_path / "from-template"), "--target", "process")

    assert http.get("/api/from-template?name=x").json() == {"hello": "x"}


def test_example_client_speaks_grpc(mesh: RunningMesh, make_source: MakeSource) -> None:
    mesh.cli("deploy", str(make_source("by-grpc", **{"handler.py": HELLO})), "--target", "process")

    done = subprocess.run(
        [sys.executable, str(ROOT / "examples/grpc_client.py"), "by-grpc", '{"name": "g"}'],
        capture_output=True, text=True, check=False, timeout=60, env={**mesh.environ, "FNMESH_SERVER": mesh.server},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"hello": "g"') == 2
    assert "InvokeStream: status 200" in done.stdout


def test_settings_of_the_source_hold_and_flags_win(
    mesh: RunningMesh, http: httpx.Client, make_source: MakeSource
) -> None:
    settings = 'path = "toml/way"\nmethods = ["POST"]\nmemory = "64Mi"\n[env]\nGREETING = "toml"\n'
    source = make_source("with-toml", **{"handler.py": HELLO, "fnmesh.toml": settings})

    shown = mesh.cli_json("deploy", str(source), "--target", "process", "--memory", "128Mi")

    assert shown["function"]["limits"]["memoryBytes"] == str(128 << 20)
    assert shown["url"].endswith("/api/toml/way")
    assert http.post("/api/toml/way").json()["env"] == "toml"
    wrong = http.get("/api/toml/way")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")


def test_failed_build_tells_its_own_error(mesh: RunningMesh, client: Mesh, make_source: MakeSource) -> None:
    source = make_source("broken", **{"handler.py": "def handler(event:\n    return 1\n"})

    done = mesh.cli("deploy", str(source), "--target", "process", check=False)

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("fnmesh: The build failed: ")
    assert "handler.py" in done.stderr.splitlines()[-1]
    assert [build.state for build in client.builds("broken")] == [build_pb2.BUILD_STATE_FAILED]


def test_function_that_cannot_be_imported_is_told(mesh: RunningMesh, make_source: MakeSource) -> None:
    source = make_source("unimportable", **{"handler.py": "import not_there\ndef handler(event): return 1\n"})

    done = mesh.cli("deploy", str(source), "--target", "process", check=False)

    assert done.returncode == 1
    assert "not_there" in done.stderr


def test_same_source_is_not_built_again(mesh: RunningMesh, client: Mesh, make_source: MakeSource) -> None:
    source = make_source("twice", **{"handler.py": HELLO})
    mesh.cli("deploy", str(source), "--target", "process")

    again = mesh.cli_json("deploy", str(source), "--target", "process")

    assert again["build"]["cached"] is True
    assert again["build"]["state"] == "BUILD_STATE_DONE"
    first, second = client.builds("twice")
    assert first.artifact.digest == second.artifact.digest


def test_build_events_are_numbered_and_can_be_read_later(
    mesh: RunningMesh, client: Mesh, make_source: MakeSource
) -> None:
    deploy = client.deploy(make_source("events", **{"handler.py": HELLO}), target="process")
    live = [event.sequence for event in deploy.events()]
    deploy.wait()

    later = [event.sequence for event in client.build_events(deploy.build.name)]

    assert live == later == list(range(1, len(live) + 1))


def test_no_such_function(mesh: RunningMesh, http: httpx.Client, client: Mesh) -> None:
    answer = http.get("/api/nowhere")
    assert answer.status_code == 404
    assert set(answer.json()) == {"detail", "code", "reason", "trace_id"}
    with pytest.raises(NotFound):
        client.invoke("nowhere")
    done = mesh.cli("show", "nowhere", check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
