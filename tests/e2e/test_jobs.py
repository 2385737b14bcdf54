"""Jobs through the whole mesh, by its commands, its client and over HTTP."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from fnmesh.client import AsyncMesh, Mesh
from fnmesh.invoke.v1 import job_pb2
from tests.support import processes
from tests.support.eventually import eventually_sync
from tests.support.running_mesh import RunningMesh

HANDLER = """
import time

def handler(event):
    if event.get("fail"):
        raise ValueError("as asked")
    time.sleep(event.get("sleep", 0))
    return {"got": event}
"""
SCRIPT = """
import json, os, sys, time
event = json.load(sys.stdin)
print("hello", event.get("name"), flush=True)
print("aside", file=sys.stderr, flush=True)
if event.get("hang"):
    print(os.getpid(), flush=True)
    time.sleep(600)
sys.exit(event.get("exit", 0))
"""


@pytest.fixture(scope="module")
def function(mesh: RunningMesh, tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("jobs") / "worker"
    directory.mkdir()
    (directory / "handler.py").write_text(HANDLER)
    mesh.cli("deploy", str(directory), "--target", "process")
    return "worker"


@pytest.fixture(scope="module", autouse=True)
def schedule(mesh: RunningMesh, function: str) -> str:
    """A schedule of every minute, made before all tests: nobody has to wait for its first time."""
    said = mesh.cli("schedule", "add", "* * * * *", function, "--event", '{"n": 9}', "-z", "Europe/Berlin").stdout
    uid = said.split()[0]
    assert said.startswith(f"{uid} runs next at ")
    return uid


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "job.py"
    path.write_text(SCRIPT)
    return str(path)


def test_a_script_is_run_shown_and_listed(mesh: RunningMesh, script: str) -> None:
    ran = mesh.cli("job", "run", script, "--event", '{"name": "x"}', "--wait", "-w", "script-project")
    assert (ran.stdout, ran.stderr) == ("hello x\n", "aside\n")
    (job,) = mesh.cli_json("job", "list", "-w", "script-project")["jobs"]
    assert (job["state"], job["exitCode"], job["workspaceDisplayName"]) == ("JOB_STATE_SUCCESS", 0, "script-project")
    assert job["codeKey"] == f"script-project/{job['uid'][:8]}.py"
    # Two streams: which of their lines comes first is not said.
    assert sorted(mesh.cli("job", "logs", job["uid"]).stdout.splitlines()) == ["aside", "hello x"]
    for how in ([], ["-f"]):
        lines = mesh.cli("job", "logs", *how, job["uid"], "--json").stdout.splitlines()
        assert sorted(json.loads(line)["text"] for line in lines) == ["aside", "hello x"]
    shown = mesh.cli("job", "show", job["uid"]).stdout
    assert "success" in shown
    assert '{"name": "x"}' in shown
    table = mesh.cli("job", "list", "-w", "script-project").stdout
    assert table.splitlines()[1].split()[:3] == [job["uid"], "success", job["codeKey"]]


def test_a_script_that_fails_says_so_and_can_be_redriven(mesh: RunningMesh, script: str) -> None:
    ran = mesh.cli("job", "run", script, "--event", '{"exit": 3}', "--wait", check=False)
    assert ran.returncode == 1
    assert "The job ended FAILED: The script ended with exit code 3." in ran.stderr
    job = mesh.cli_json("job", "list", "--state", "failed")["jobs"][0]
    assert (job["state"], job["exitCode"]) == ("JOB_STATE_FAILED", 3)
    assert mesh.cli("job", "redrive", job["uid"]).stdout == f"{job['uid']} is queued.\n"
    followed = mesh.cli("job", "logs", "-f", job["uid"])
    assert followed.stdout.count("hello None") == 2


def test_a_running_script_is_followed_and_cancelled_with_all_that_it_runs(mesh: RunningMesh, script: str) -> None:
    uid = mesh.cli("job", "run", script, "--event", '{"hang": true}').stdout.strip()

    def printed() -> list[int]:
        return [int(word) for word in mesh.cli("job", "logs", uid).stdout.split() if word.isdigit()]

    (pid,) = eventually_sync(printed, 60)
    assert processes.is_running(pid)
    assert mesh.cli("job", "cancel", uid).stdout == f"{uid} is cancelled.\n"
    eventually_sync(lambda: not processes.is_running(pid), 30)


def test_a_script_that_takes_too_long(mesh: RunningMesh, script: str) -> None:
    ran = mesh.cli("job", "run", script, "--event", '{"hang": true}', "--timeout", "5s", "--wait", check=False)
    assert "The job ended TIMEOUT: The script took longer than its time limit of 5 s" in ran.stderr
    pid = int(ran.stdout.split()[-1])
    eventually_sync(lambda: not processes.is_running(pid), 30)


def test_a_function_is_invoked_without_waiting(mesh: RunningMesh, function: str) -> None:
    ran = mesh.cli("job", "run", "--function", function, "--event", '{"n": 1}', "--wait")
    assert json.loads(ran.stdout) == {"got": {"n": 1}}
    uid = mesh.cli("invoke", function, "-d", '{"n": 2}', "--async").stdout.strip()
    with Mesh(mesh.server) as client:
        done = client.jobs.wait(uid)
        assert (done.state, json.loads(done.result)) == (job_pb2.JOB_STATE_SUCCESS, {"got": {"n": 2}})
        recorded = eventually_sync(lambda: [one for one in client.executions(function) if one.name == done.execution])
        assert [run.trace_id for run in recorded] == [done.trace_id]


def test_a_dead_letter(mesh: RunningMesh, function: str) -> None:
    ran = mesh.cli("job", "run", "--function", function, "--event", '{"fail": 1}', "--attempts", "2", "--wait",
                   check=False)  # fmt: skip
    assert "The job ended DEAD: The handler raised an error." in ran.stderr
    (dead,) = mesh.cli_json("job", "list", "--state", "dead")["jobs"]
    assert (dead["attempt"], dead["statusCode"]) == (2, 500)


async def test_the_asynchronous_client(mesh: RunningMesh, function: str, script: str) -> None:
    async with AsyncMesh(mesh.server) as client:
        job = await client.jobs.run(function, {"n": 3}, request_id="e2e-once")
        assert (await client.jobs.run(function, {"n": 3}, request_id="e2e-once")).uid == job.uid
        assert json.loads((await client.jobs.wait(job.name)).result) == {"got": {"n": 3}}
        made = await client.jobs.run_script(script, {"name": "y"}, start=False)
        assert made.state == job_pb2.JOB_STATE_PENDING
        await client.jobs.start(made.uid, {"name": "z"})
        assert (await client.jobs.wait(made.uid)).exit_code == 0
        log = b"".join([piece async for piece in client.jobs.log(made.log_key)])
        assert sorted(log.splitlines()) == [b"aside", b"hello z"]
        assert (await client.jobs.get(made.uid, with_code=True)).script.code == SCRIPT.encode()


def test_a_request_that_is_not_waited_for(mesh: RunningMesh, function: str, http: httpx.Client) -> None:
    sent = {"url": f"/api/{function}/x?a=1&b=%20", "content": '{"sleep": 0}', "cookies": None}
    headers = {"content-type": "application/json", "x-mine": "1", "cookie": "c=1"}
    direct = http.post(**sent, headers=headers).json()["got"]
    answer = http.post(**sent, headers={**headers, "prefer": "respond-async"})
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/api/jobs/{answer.json()['job_id']}"
    assert answer.headers["preference-applied"] == "respond-async"
    with Mesh(mesh.server) as client:
        done = client.jobs.wait(answer.json()["job_id"])
        assert done.trace_id == answer.headers["x-trace-id"]
    later = json.loads(done.result)["got"]
    assert later["headers"].pop("prefer") == "respond-async"
    for event in (direct, later):
        for name in ("traceparent", "x-request-id"):
            event["headers"].pop(name, None)
        for name in ("requestId", "time", "timeEpoch"):
            assert event["requestContext"].pop(name)
    assert later == direct


def test_a_schedule_makes_jobs(mesh: RunningMesh, function: str, schedule: str) -> None:
    assert mesh.cli("schedule", "list").stdout.splitlines()[1].split()[:8] == [
        schedule, "*", "*", "*", "*", "*", "Europe/Berlin", function,
    ]  # fmt: skip
    with Mesh(mesh.server) as client:

        def ran() -> bool:
            last = client.schedules.get(schedule).last_job
            if not last:
                return False
            job = client.jobs.wait(last)
            return job.state == job_pb2.JOB_STATE_SUCCESS and json.loads(job.result) == {"got": {"n": 9}}

        eventually_sync(ran, 90, interval_s=1)
    assert mesh.cli("schedule", "delete", schedule).stdout == f"{schedule} is deleted.\n"
    again = mesh.cli_json("schedule", "add", "0 0 1 1 *", function)["uid"]
    assert mesh.cli_json("schedule", "delete", again) == {}
    assert mesh.cli_json("schedule", "list")["schedules"] == []
    wrong = mesh.cli("schedule", "add", "61 * * * *", function, check=False)
    assert wrong.returncode == 1
    assert "is not a cron expression" in wrong.stderr
