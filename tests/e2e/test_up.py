"""`fnmesh up` itself: one for each data directory, what dies is started again, what ends leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import MakeSource
from tests.support import processes
from tests.support.eventually import eventually_sync
from tests.support.plain_http import PLAIN
from tests.support.running_mesh import ROOT, RunningMesh

HELLO = "import os\ndef handler(event):\n    return {'pid': os.getpid()}\n"


@pytest.fixture
def own_mesh() -> Iterator[RunningMesh]:
    """A mesh for one test, not started yet."""
    running = RunningMesh()
    try:
        yield running
    finally:
        running.remove()


@pytest.fixture(scope="module")
def ended_mesh() -> Iterator[RunningMesh]:
    """The mesh of tests that end one, however it ended last."""
    running = RunningMesh()
    try:
        yield running
    finally:
        running.remove()


@pytest.fixture
def mortal_mesh(ended_mesh: RunningMesh) -> RunningMesh:
    """A mesh that runs and may be ended: it is started for the next test again."""
    return ended_mesh if ended_mesh.runs else ended_mesh.start()


def _get(mesh: RunningMesh, path: str) -> int:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{mesh.url}{path}", timeout=10, trust_env=False, verify=PLAIN).status_code
    return 0


def test_second_mesh_on_the_same_data_is_refused(mesh: RunningMesh) -> None:
    done = mesh.cli("up", "--data-dir", str(mesh.data_dir), "--listen", "127.0.0.1:0", check=False)

    assert done.returncode == 1
    assert f"A mesh already runs on {mesh.data_dir}: process {mesh.pid} and answers at {mesh.url}" in done.stderr
    assert done.stderr.count("\n") == 1


def test_port_in_use_is_told_before_anything_starts(mesh: RunningMesh, tmp_path: Path) -> None:
    done = mesh.cli("up", "--data-dir", str(tmp_path / "d"), "--listen", mesh.server, check=False)

    assert done.returncode == 1
    assert f"{mesh.server} cannot be listened on" in done.stderr
    assert not (tmp_path / "d" / "logs" / "registry.log").exists()


@pytest.mark.parametrize("name", ["registry", "build", "deploy", "invoke", "gateway", "envoy"])
def test_a_killed_service_is_started_again(
    mesh: RunningMesh, http: httpx.Client, make_source: MakeSource, name: str
) -> None:
    function = f"after-{name}"
    mesh.cli("deploy", str(make_source(function, **{"handler.py": HELLO})), "--target", "process")
    workload = http.get(f"/api/{function}").json()["pid"]
    pid = mesh.service_pid(name)

    os.kill(pid, signal.SIGKILL)

    eventually_sync(lambda: not processes.is_running(pid), 10)
    eventually_sync(lambda: mesh.service_pid(name) != pid, 20)
    eventually_sync(lambda: _get(mesh, "/health") == 200, 30)
    eventually_sync(lambda: _get(mesh, f"/api/{function}") == 200, 30)
    assert processes.is_running(workload)  # workloads outlive the services
    mesh.cli("deploy", str(make_source(function, **{"handler.py": HELLO + "# 2\n"})), "--target", "process")


def test_orderly_stop_leaves_nothing_and_keeps_everything(own_mesh: RunningMesh, make_source: MakeSource) -> None:
    own_mesh.start()
    own_mesh.cli("deploy", str(make_source("kept", **{"handler.py": HELLO})), "--target", "process")
    assert _get(own_mesh, "/api/kept") == 200

    assert own_mesh.stop(signal.SIGINT) == 0

    assert own_mesh.processes() == []
    assert own_mesh.errors() == ""
    own_mesh.start()
    eventually_sync(lambda: _get(own_mesh, "/api/kept") == 200, 30)

    os.kill(own_mesh.service_pid("deploy"), signal.SIGKILL)  # who is gone cannot take the workloads along
    assert own_mesh.stop() == 0
    assert own_mesh.processes() == []


def test_requests_under_way_are_finished_before_it_stops(mortal_mesh: RunningMesh, make_source: MakeSource) -> None:
    code = "import time\ndef handler(event):\n    print('begun')\n    time.sleep(2)\n    return {'done': True}\n"
    mortal_mesh.cli("deploy", str(make_source("slowly", **{"handler.py": code})), "--target", "process")
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(httpx.get, f"{mortal_mesh.url}/api/slowly", trust_env=False, timeout=30)
        eventually_sync(lambda: "begun" in mortal_mesh.cli("logs", "slowly").stdout, 30)

        assert mortal_mesh.stop() == 0

        assert (answer.result().status_code, answer.result().json()) == (200, {"done": True})


def test_a_killed_mesh_leaves_no_orphan_after_the_next_start(mortal_mesh: RunningMesh, make_source: MakeSource) -> None:
    mortal_mesh.cli("deploy", str(make_source("orphan", **{"handler.py": HELLO})), "--target", "process")
    workload = httpx.get(f"{mortal_mesh.url}/api/orphan", trust_env=False).json()["pid"]
    workloads = mortal_mesh.processes_of(processes.command_line(workload)[-1])  # those of other tests, too
    before = mortal_mesh.processes()

    mortal_mesh.kill()

    services = [pid for pid in before if pid not in workloads]
    eventually_sync(lambda: not any(processes.is_running(pid) for pid in services), 10)
    mortal_mesh.start()
    assert not processes.is_running(workload)
    eventually_sync(lambda: _get(mortal_mesh, "/api/orphan") == 200, 30)
    assert mortal_mesh.stop() == 0
    assert mortal_mesh.processes() == []


def test_a_service_that_dies_again_and_again_ends_the_mesh(mortal_mesh: RunningMesh) -> None:
    killed: set[int] = set()

    def another() -> int:
        return next((pid for pid in mortal_mesh.processes_of("invoke_svc") if pid not in killed), 0)

    for _ in range(5):
        pid = eventually_sync(another, 10)
        killed.add(pid)
        os.kill(pid, signal.SIGKILL)

    assert mortal_mesh.wait() == 1
    assert mortal_mesh.errors().splitlines()[-1].startswith("fnmesh: invoke failed 5 times in a row")
    assert mortal_mesh.processes() == []


def test_wrong_setting_is_one_sentence(own_mesh: RunningMesh) -> None:
    done = own_mesh.cli(
        "up", "--data-dir", str(own_mesh.data_dir), "--listen", "127.0.0.1:0", check=False,
        FNMESH_LOG_LEVEL="loud",
    )  # fmt: skip

    assert done.returncode == 1
    assert "FNMESH_LOG_LEVEL" in done.stderr
    assert done.stderr.count("\n") == 1
    assert own_mesh.processes() == []


def test_ready_line_is_the_only_output(own_mesh: RunningMesh) -> None:
    command = [sys.executable, "-m", "cli", "up", "--data-dir", str(own_mesh.data_dir), "--listen", "127.0.0.1:0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=own_mesh.environ, cwd=ROOT, start_new_session=True
    ) as up:
        assert up.stdout is not None
        line = up.stdout.readline()
        up.send_signal(signal.SIGTERM)
        rest = up.stdout.read()
        assert up.wait(60) == 0
    assert line.startswith("ready  http://127.0.0.1:")
    assert rest == ""


def test_doctor(mesh: RunningMesh) -> None:
    findings = {one["what"]: one for one in mesh.cli_json("doctor", "--data-dir", str(mesh.data_dir))["findings"]}

    assert {findings[f"mesh: {name}"]["state"] for name in ("registry", "build", "deploy", "invoke")} == {"ok"}
    assert findings["target: process"]["state"] == "ok"

    nowhere = mesh.cli("doctor", "--json", "--server", "127.0.0.1:1", check=False)
    assert nowhere.returncode == 1
    assert {"what": "mesh", "state": "failed"}.items() <= json.loads(nowhere.stdout)["findings"][-1].items()


def test_db_upgrade_may_be_repeated(own_mesh: RunningMesh) -> None:
    for _ in range(2):
        done = own_mesh.cli("db", "upgrade", "--data-dir", str(own_mesh.data_dir), "--json")
        assert json.loads(done.stdout) == {"upgraded": ["registry", "build", "deploy", "invoke"]}


def test_demo_deploys_what_it_says(tmp_path: Path) -> None:
    own_mesh = RunningMesh()  # for its directory and its clean environment
    environ = {
        **own_mesh.environ, "FNMESH_DEMO_LISTEN": "127.0.0.1:0", "FNMESH_DEMO_DATA_DIR": str(own_mesh.data_dir)
    }  # fmt: skip
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "cli.demo"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=environ, cwd=ROOT, start_new_session=True,
        ) as demo:  # fmt: skip
            assert demo.stdout is not None
            said = []
            for line in demo.stdout:
                said.append(line)
                if line.startswith("Ctrl-C"):
                    break
            tries = [line.split("'")[1] for line in said if line.strip().startswith("curl")]
            answers = [httpx.get(url, trust_env=False, timeout=30).status_code for url in tries]
            demo.send_signal(signal.SIGINT)
            assert demo.wait(60) == 0
        assert tries, said
        assert set(answers) == {200}
        assert own_mesh.processes() == []
    finally:
        own_mesh.remove()
