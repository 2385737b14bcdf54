"""A function's life: env, redeploy under load, rollback, delete."""

from __future__ import annotations

import threading
from contextlib import suppress

import httpx

from fnmesh.client import Mesh
from tests.e2e.conftest import MakeSource
from tests.support import processes
from tests.support.eventually import eventually_sync
from tests.support.running_mesh import RunningMesh

VERSIONED = """
    import os, time

    def handler(event, context):
        time.sleep(0.02)
        return {"version": %d, "greeting": os.environ.get("GREETING", "none")}
"""


def test_env_set_makes_a_revision_and_no_build(
    mesh: RunningMesh, http: httpx.Client, client: Mesh, make_source: MakeSource
) -> None:
    mesh.cli("deploy", str(make_source("env", **{"handler.py": VERSIONED % 1})), "--target", "process")

    mesh.cli("env", "set", "env", "GREETING=hi", "OTHER=x=y")

    assert http.get("/api/env").json() == {"version": 1, "greeting": "hi"}
    assert len(client.builds("env")) == 1
    assert client.show("env").serving_revision.endswith("/revisions/2")
    assert mesh.cli_json("env", "list", "env") == {"env": {"GREETING": "****", "OTHER": "****"}}
    assert mesh.cli_json("env", "list", "env", "--reveal")["env"]["OTHER"] == "x=y"

    mesh.cli("env", "unset", "env", "GREETING")

    assert http.get("/api/env").json()["greeting"] == "none"


def test_rollback_brings_back_code_and_env(mesh: RunningMesh, http: httpx.Client, make_source: MakeSource) -> None:
    deploy = ("--target", "process")
    mesh.cli("deploy", str(make_source("back", **{"handler.py": VERSIONED % 1})), *deploy, "--env", "GREETING=one")
    mesh.cli("deploy", str(make_source("back", **{"handler.py": VERSIONED % 2})), *deploy, "--env", "GREETING=two")
    assert http.get("/api/back").json() == {"version": 2, "greeting": "two"}

    said = mesh.cli("rollback", "back").stdout
    assert http.get("/api/back").json() == {"version": 1, "greeting": "one"}
    assert said == "back serves revision 1.\n"

    mesh.cli("rollback", "back", "--to", "2")
    assert http.get("/api/back").json() == {"version": 2, "greeting": "two"}

    wrong = mesh.cli("rollback", "back", "--to", "9", check=False)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1)


def test_redeploy_under_load_fails_no_request(mesh: RunningMesh, http: httpx.Client, make_source: MakeSource) -> None:
    mesh.cli("deploy", str(make_source("load", **{"handler.py": VERSIONED % 1})), "--target", "process")
    answers: list[httpx.Response | httpx.HTTPError] = []
    stop = threading.Event()

    def call() -> None:
        with httpx.Client(base_url=mesh.url, timeout=30, trust_env=False) as session:
            while not stop.is_set():
                try:
                    answers.append(session.get("/api/load"))
                except httpx.HTTPError as error:
                    answers.append(error)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    try:
        for version in (2, 3):
            source = make_source("load", **{"handler.py": VERSIONED % version})
            mesh.cli("deploy", str(source), "--target", "process")
            before = len(answers)
            eventually_sync(lambda before=before: len(answers) > before + 20)
    finally:
        stop.set()
        for caller in callers:
            caller.join()

    failed = [one for one in answers if isinstance(one, httpx.HTTPError) or one.status_code != 200]
    assert not failed, f"{len(failed)} of {len(answers)} failed: {failed[:3]}"
    assert http.get("/api/load").json()["version"] == 3
    served = [one.json()["version"] for one in answers if isinstance(one, httpx.Response)]
    assert set(served) == {1, 2, 3}


def test_delete_frees_name_and_path_and_leaves_no_process(
    mesh: RunningMesh, http: httpx.Client, client: Mesh, make_source: MakeSource
) -> None:
    source = str(make_source("gone", **{"handler.py": VERSIONED % 1}))
    mesh.cli("deploy", source, "--target", "process")
    (instance,) = client.deployment("gone").instances
    pid = int(instance.handle.partition("@")[0])
    assert processes.is_running(pid)

    mesh.cli("delete", "gone")

    assert http.get("/api/gone").status_code == 404
    eventually_sync(lambda: not processes.is_running(pid), 40)
    assert "gone" not in [function.display_name for function in client.list(workspace="-")]
    mesh.cli("deploy", source, "--target", "process")
    assert http.get("/api/gone").status_code == 200


def test_list_and_show(mesh: RunningMesh, make_source: MakeSource) -> None:
    source = make_source("seen", **{"handler.py": VERSIONED % 1})
    mesh.cli("deploy", str(source), "--target", "process", "--workspace", "other", "--concurrency", "3")

    listed = mesh.cli_json("list", "--workspace", "other")["functions"]
    shown = mesh.cli_json("show", "seen", "--workspace", "other")

    assert [one["displayName"] for one in listed] == ["seen"]
    assert listed[0]["deploymentState"] == "DEPLOYMENT_STATE_READY"
    assert shown["function"]["limits"]["concurrency"] == 3
    assert [one["number"] for one in shown["revisions"]] == [1]
    assert [one["state"] for one in shown["deployment"]["instances"]] == ["INSTANCE_STATE_READY"]
    assert "INSTANCE" in mesh.cli("show", "seen", "--workspace", "other").stdout


def test_a_stuck_or_dying_instance_is_replaced(
    mesh: RunningMesh, http: httpx.Client, client: Mesh, make_source: MakeSource
) -> None:
    code = "import os\ndef handler(event, context):\n    return {'pid': os.getpid()}\n"
    mesh.cli("deploy", str(make_source("dying", **{"handler.py": code})), "--target", "process")
    first = http.get("/api/dying").json()["pid"]

    processes.kill(first)

    def other() -> bool:
        with suppress(httpx.HTTPError, ValueError, KeyError):
            return bool(http.get("/api/dying").json()["pid"] != first)
        return False

    eventually_sync(other, 30)


def test_timeout_is_a_504(mesh: RunningMesh, http: httpx.Client, make_source: MakeSource) -> None:
    code = "import asyncio\nasync def handler(event):\n    await asyncio.sleep(30)\n"
    source = str(make_source("slow", **{"handler.py": code}))
    mesh.cli("deploy", source, "--target", "process", "--timeout", "300ms")

    answer = http.get("/api/slow")

    assert answer.status_code == 504
    assert answer.json()["code"] == "DEADLINE_EXCEEDED"
