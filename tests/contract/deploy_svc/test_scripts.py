"""Scripts as processes: what they get, what is heard of them, and that nothing of them stays."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from fnmesh.internal.deploy.v1 import script_service_pb2_grpc as pb_grpc
from mesh.errors import InvalidArgument, Unavailable
from mesh.rpc_client import open_channel
from tests.support import processes
from tests.support.deploy_harness import DeployHarness, harness
from tests.support.eventually import eventually
from tests.support.scripts import Ran, order, run_script

HANGS = "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(600)\n"
FORKS = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(os.getpid(), child.pid, flush=True)
if "stay" in sys.stdin.read():
    time.sleep(600)
"""


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh() -> AsyncIterator[DeployHarness]:
    async with harness() as one, one.here():
        yield one


def left_of(mesh: DeployHarness) -> list[str]:
    """Directories and records of scripts."""
    places = (mesh.run / "s", mesh.data / "scripts")
    return [path.name for place in places if place.is_dir() for path in place.iterdir()]


async def test_a_script_gets_its_event_twice_and_says_how_it_ended(mesh: DeployHarness) -> None:
    code = """
import json, os, sys
event = json.load(sys.stdin)
print(event == json.loads(os.environ["FNMESH_EVENT"]), event["name"])
print("trouble", file=sys.stderr)
print("no end", end="")
sys.exit(3)
"""
    ran = await run_script(mesh, order(code, event='{"name": "Zoë"}'.encode()))
    assert ran.stdout == ["True Zoë", "no end"]
    assert ran.stderr == ["trouble"]
    assert (ran.exited.code, ran.exited.killed, ran.exited.timed_out) == (3, "", False)
    assert left_of(mesh) == []


async def test_a_script_is_confined_like_a_function(mesh: DeployHarness) -> None:
    code = """
import json, os, resource
open("note", "w").write("mine")
print(json.dumps({
    "uid": os.getuid(), "cwd": os.getcwd(), "home": os.environ["HOME"], "names": sorted(os.environ),
    "core": resource.getrlimit(resource.RLIMIT_CORE)[0], "files": sorted(os.listdir(".")),
    "privileges": [line.split()[1] for line in open("/proc/self/status") if line.startswith("NoNewPrivs")][0],
    "fds": len(os.listdir("/proc/self/fd")),
}))
"""
    told = json.loads((await run_script(mesh, order(code, env={"FNMESH_JOB": "x"}))).stdout[0])
    assert told["cwd"] == told["home"] == str(mesh.run / "s/job-1")
    assert told["names"] == ["FNMESH_EVENT", "FNMESH_JOB", "HOME", "LANG", "PATH", "TMPDIR"] or (
        "SSL_CERT_FILE" in told["names"]
    )
    assert (told["core"], told["privileges"]) == (0, "1")
    assert told["files"] == ["event.json", "note", "script.py", "tmp"]
    assert told["fds"] == 4  # standard ones, and the one that lists them
    if os.geteuid() == 0:
        assert told["uid"] >= 200_000


async def test_an_event_too_large_for_a_variable_is_on_standard_input(mesh: DeployHarness) -> None:
    code = "import os, sys\nprint(len(sys.stdin.read()), 'FNMESH_EVENT' in os.environ)\n"
    ran = await run_script(mesh, order(code, event=json.dumps("x" * 500_000).encode()))
    assert ran.stdout == ["500002 False"]


@pytest.mark.node
async def test_node(mesh: DeployHarness) -> None:
    code = """
let text = "";
process.stdin.on("data", (part) => text += part).on("end", () => {
  console.log("hello", JSON.parse(text).name); console.error("aside"); process.exitCode = 4;
});
"""
    ran = await run_script(mesh, order(code, language="node", event=b'{"name": "n"}'))
    assert (ran.stdout, ran.stderr, ran.exited.code) == (["hello n"], ["aside"], 4)


async def test_lines_come_while_the_script_runs_and_cancelling_ends_it_with_its_children(mesh: DeployHarness) -> None:
    ran = Ran()
    async with open_channel(mesh.load_settings().deploy_address, token=mesh.token) as channel:
        call = pb_grpc.ScriptServiceStub(channel).RunScript(order(FORKS, event=b'"stay"'))
        async for message in call:
            ran.take(message)
            if ran.stdout:
                break
        pids = [int(word) for word in ran.stdout[0].split()]
        assert [processes.is_running(pid) for pid in pids] == [True, True]
        assert ran.handle.partition("@")[0] == str(pids[0])
        call.cancel()
        await eventually(lambda: not any(processes.is_running(pid) for pid in pids), 5)
    await eventually(lambda: left_of(mesh) == [], 5)


async def test_a_script_that_is_cancelled_while_it_is_started_leaves_nothing(mesh: DeployHarness) -> None:
    for number in range(5):
        home = mesh.run / f"s/job-{number}"
        running = asyncio.ensure_future(run_script(mesh, order(HANGS, run=home.name)))
        await eventually(home.exists, interval_s=0)
        running.cancel()
        await asyncio.wait([running])
        await eventually(lambda: left_of(mesh) == [])
        assert processes.working_in(home) == []


async def test_what_a_script_leaves_running_ends_with_it(mesh: DeployHarness) -> None:
    ran = await run_script(mesh, order(FORKS))
    assert ran.exited.code == 0
    assert not any(processes.is_running(int(word)) for word in ran.stdout[0].split())


async def test_time_is_limited_here_too(mesh: DeployHarness) -> None:
    ran = await run_script(mesh, order(HANGS, timeout_s=5))  # two interpreters start before it prints
    assert ran.exited.timed_out
    assert not processes.is_running(int(ran.stdout[0]))


async def test_memory_is_limited(mesh: DeployHarness) -> None:
    code = "import time\nheld = []\nwhile True:\n    held.append(bytearray(1 << 20))\n    time.sleep(0.002)\n"
    ran = await run_script(mesh, order(code, memory_bytes=32 << 20))
    assert ran.exited.code == 1 or "Out of memory" in ran.exited.killed
    assert "MemoryError" in ran.stderr or ran.exited.killed


async def test_a_script_that_kills_itself(mesh: DeployHarness) -> None:
    ran = await run_script(mesh, order("import os\nos.kill(os.getpid(), 9)\n"))
    assert ran.exited.killed.startswith("It was killed by signal 9")
    assert not ran.exited.HasField("code")


async def test_much_output_is_heard_whole_and_in_order(mesh: DeployHarness) -> None:
    ran = await run_script(mesh, order("for n in range(50_000):\n    print(n)\n"))
    assert ran.stdout == [str(number) for number in range(50_000)]
    long = await run_script(mesh, order("print('x' * 200_000)"))
    assert "".join(long.stdout) == "x" * 200_000


async def test_several_at_once_are_users_of_their_own(mesh: DeployHarness) -> None:
    code = "import os\nprint(os.getuid())\nopen(os.path.join(os.path.dirname(os.getcwd()), 'x'), 'w')\n"
    ran = await asyncio.gather(*(run_script(mesh, order(code, run=f"job-{number}")) for number in range(4)))
    if os.geteuid() == 0:
        assert len({one.stdout[0] for one in ran}) == 4
        assert all("Permission denied" in one.stderr[-1] for one in ran)


async def test_what_is_refused(mesh: DeployHarness) -> None:
    for request, reason in (
        (order("1", run="../up"), "RUN_INVALID"),
        (order("1", language="perl"), "LANGUAGE_INVALID"),
        (order("1", target="moon"), "TARGET_INVALID"),
    ):
        with pytest.raises(InvalidArgument) as caught:
            await run_script(mesh, request)
        assert caught.value.reason == reason


async def test_a_killed_deploy_svc_leaves_nothing_running() -> None:
    async with harness() as one:
        one.spawn()
        await eventually(lambda: Path(one.load_settings().deploy_address[5:]).exists(), 20)
        ran = Ran()

        async def run() -> str:
            try:
                async with open_channel(one.load_settings().deploy_address, token=one.token) as channel:
                    async for message in pb_grpc.ScriptServiceStub(channel).RunScript(order(FORKS, event=b'"stay"')):
                        ran.take(message)
            except Unavailable as error:
                return error.reason
            return "ended"

        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(run())
            await eventually(lambda: ran.stdout, 20)
            pids = [int(word) for word in ran.stdout[0].split()]
            one.kill()
            assert await asyncio.wait_for(running, 10) == "UNAVAILABLE"
        assert processes.is_running(pids[1])
        one.spawn()
        await eventually(lambda: not any(processes.is_running(pid) for pid in pids), 20)
        await eventually(lambda: left_of(one) == [], 10)


async def test_the_reaper_ends_scripts_too() -> None:
    async with harness() as one:
        one.spawn()
        await eventually(lambda: Path(one.load_settings().deploy_address[5:]).exists(), 20)
        async with open_channel(one.load_settings().deploy_address, token=one.token) as channel:
            ran = Ran()
            call = pb_grpc.ScriptServiceStub(channel).RunScript(order(HANGS))
            async for message in call:
                ran.take(message)
                if ran.stdout:
                    break
            one.kill()
        await asyncio.to_thread(one.reap)
        assert not processes.is_running(int(ran.stdout[0]))
        assert left_of(one) == []
