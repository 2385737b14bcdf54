"""Real Python workloads of the process target, from a snapshot of the registry to an answer."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from deploy_svc.process import proc
from fnmesh.internal.deploy.v1.endpoint_service_pb2 import RetireInstanceRequest
from fnmesh.registry.v1 import function_pb2 as f
from mesh.errors import MeshError, NotFound
from tests.support.deploy_harness import Client, DeployHarness, Revision, harness, watching
from tests.support.eventually import eventually

UID = "fn-abcdefghijkl"
SLOW = """
import time
def handler(event):
    time.sleep(0.02)
    return 'one'
"""
HUNGRY = """
import asyncio
data = []
async def handler(event):
    data.append(bytearray(200 << 20))
    await asyncio.sleep(4)
"""
TELLING = """
import os
def handler(event):
    try:
        open(os.path.join(os.path.dirname(__file__), 'new'), 'w')
        wrote = True
    except OSError:
        wrote = False
    new_privs = 'NoNewPrivs:\\t1' in open('/proc/self/status').read()
    return {'env': dict(os.environ), 'uid': os.getuid(), 'groups': os.getgroups(), 'wrote': wrote,
            'new_privs': new_privs}
"""
TICKING = """
import threading, time
def tick():
    n = 0
    while True:
        print('tick', n)
        n += 1
        time.sleep(0.05)
threading.Thread(target=tick, daemon=True).start()
def handler(event):
    return 'one'
"""


def says(word: str) -> Revision:
    return Revision({"app/handler.py": f"def handler(event):\n    print('said {word}')\n    return '{word}'\n"})


@pytest.fixture
async def deploy() -> AsyncIterator[DeployHarness]:
    async with harness() as one:
        yield one


async def ask(address: str, path: str = "/api/x") -> tuple[int, bytes]:
    reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
    writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


async def test_deploys_and_answers(deploy: DeployHarness) -> None:
    async with deploy.here(), deploy.client() as client, watching(client) as watcher:
        began = asyncio.get_running_loop().time()
        await deploy.want(UID, 1, says("one"))
        deployment = await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)
        print("ready after", asyncio.get_running_loop().time() - began)
        endpoint = (await eventually(watcher.accepting))[0]
        status, body = await ask(endpoint.address)
        assert status == 200 and b"one" in body
        assert deployment.instances[0].handle.isdecimal()
        line = (await eventually(lambda: said(client, "said one")))[0]
        assert line.revision == 1
        await eventually(
            lambda: deploy.registry.reports and deploy.registry.reports[-1].state == f.DEPLOYMENT_STATE_READY
        )


async def said(client: Client, text: str) -> list[object]:
    return [line for line in await client.lines(UID) if line.text == text]


async def test_rolls_under_load_without_a_failed_request(deploy: DeployHarness) -> None:
    async with (
        deploy.here(), deploy.client() as client, watching(client, lets_go=False) as watcher,
        asyncio.TaskGroup() as tasks,
    ):  # fmt: skip
        await deploy.want(UID, 1, Revision({"app/handler.py": SLOW}))
        await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)
        await eventually(watcher.accepting)
        answers: list[tuple[int, bytes]] = []
        running: dict[str, int] = {}
        stop = asyncio.Event()

        async def load() -> None:
            while not stop.is_set():
                endpoint = watcher.accepting()[0]
                running[endpoint.instance] = running.get(endpoint.instance, 0) + 1
                try:
                    answers.append(await ask(endpoint.address))
                finally:
                    running[endpoint.instance] -= 1

        async def let_go() -> None:
            released: set[str] = set()
            while True:
                for e in list(watcher.endpoints.values()):
                    if not e.accepting and e.instance not in released and not running.get(e.instance):
                        released.add(e.instance)
                        await watcher.release(e.instance, e.version)
                await asyncio.sleep(0.005)

        loads = [tasks.create_task(load()) for _ in range(4)]
        letting = tasks.create_task(let_go())
        for number, word in enumerate(("two", "three"), start=2):
            await deploy.want(UID, number, says(word))
            await client.until(UID, f.DEPLOYMENT_STATE_READY, number)
            await eventually(partial(answered, answers, word))
        stop.set()
        await asyncio.wait(loads)
        assert len(answers) > 50
        assert {status for status, _ in answers} == {200}

        async def only_the_newest() -> bool:
            live = [i for i in (await client.deployment(UID)).instances if i.state in (1, 2, 3)]
            return [i.revision for i in live] == [3]

        await eventually(only_the_newest)
        letting.cancel()


def answered(answers: list[tuple[int, bytes]], word: str) -> bool:
    return word.encode() in answers[-1][1]


async def test_a_revision_that_does_not_load_leaves_the_old_one_serving(deploy: DeployHarness) -> None:
    async with deploy.here(), deploy.client() as client:
        await deploy.want(UID, 1, says("one"))
        await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)
        await deploy.want(UID, 2, Revision({"app/handler.py": "import nothing_of_this_name\n"}))
        failed = await client.until(UID, f.DEPLOYMENT_STATE_FAILED, 1)
        assert failed.message == "ModuleNotFoundError: No module named 'nothing_of_this_name'"
        await deploy.want(
            UID, 3, Revision({"app/handler.py": "import os\nprint('so long', flush=True)\nos._exit(3)\n"})
        )

        async def said_why() -> bool:
            now = await client.deployment(UID)
            return "exited with code 3" in now.message and "so long" in now.message

        await eventually(said_why)
        serving = next(i for i in failed.instances if i.revision == 1)
        status, body = await ask(f"unix:{deploy.directory()}/{serving.uid}/s")
        assert status == 200 and b"one" in body
        await eventually(lambda: said(client, "ModuleNotFoundError: No module named 'nothing_of_this_name'"))
        await eventually(lambda: deploy.registry.reports[-1].state == f.DEPLOYMENT_STATE_FAILED)


async def test_a_killed_workload_comes_back(deploy: DeployHarness) -> None:
    async with deploy.here(), deploy.client() as client:
        await deploy.want(UID, 1, says("one"))
        first = (await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)).instances[0]
        os.kill(int(first.handle), signal.SIGKILL)

        async def another() -> bool:
            now = await client.deployment(UID)
            ready = [i for i in now.instances if i.state == 2]
            return len(ready) == 1 and ready[0].uid != first.uid and now.state == f.DEPLOYMENT_STATE_READY

        await eventually(another)
        gone = next(i for i in (await client.deployment(UID)).instances if i.uid == first.uid)
        assert gone.message == "It was killed by signal 9 (SIGKILL)."
        await eventually(lambda: said(client, "It was killed by signal 9 (SIGKILL)."))
        await eventually(lambda: not (deploy.directory() / first.uid).exists())


async def test_more_memory_than_the_limit_is_named_as_such(deploy: DeployHarness) -> None:
    async with deploy.here(), deploy.client() as client:
        await deploy.want(UID, 1, Revision({"app/handler.py": HUNGRY}, memory_bytes=128 << 20))
        first = (await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)).instances[0]
        _, writer = await asyncio.open_unix_connection(f"{deploy.directory()}/{first.uid}/s")
        writer.write(b"GET /api/x HTTP/1.1\r\nhost: x\r\n\r\n")
        await eventually(lambda: out_of_memory(client))
        writer.close()


async def out_of_memory(client: Client) -> bool:
    return any(i.message.startswith("Out of memory") for i in (await client.deployment(UID)).instances)


async def test_a_workload_sees_only_what_it_may(deploy: DeployHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_MESH", "x")
    async with deploy.here(), deploy.client() as client:
        await deploy.want(UID, 1, Revision({"app/handler.py": TELLING}, env={"PASSWORD": "hunter2"}))
        ready = (await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)).instances[0]
        home = deploy.directory() / ready.uid
        status, body = await ask(f"unix:{home}/s")
        seen = json.loads(body)
        assert status == 200
        assert seen["env"]["PASSWORD"] == "hunter2" and seen["env"]["HOME"] == str(home)
        assert "SECRET_OF_THE_MESH" not in seen["env"] and "FNMESH_DATA_DIR" not in seen["env"]
        assert seen["new_privs"] and (not seen["wrote"] or os.geteuid() != 0)
        if os.geteuid() == 0:
            assert seen["uid"] >= 200_000 and seen["groups"] == []
            assert home.stat().st_uid == seen["uid"] and home.stat().st_mode & 0o777 == 0o700
        command = await asyncio.to_thread(Path(f"/proc/{ready.handle}/cmdline").read_bytes)
        assert b"hunter2" not in command


async def test_a_restarted_service_adopts_its_instances(deploy: DeployHarness) -> None:
    deploy.spawn()
    async with deploy.client() as client:
        await deploy.want(UID, 1, Revision({"app/handler.py": TICKING}))
        before = (await until_up(client)).instances[0]
        await eventually(lambda: said(client, "tick 3"))
        deploy.kill(signal.SIGKILL)
        assert proc.identify(int(before.handle)) is not None
        deploy.spawn()
        after = (await until_up(client)).instances
        assert [(i.uid, i.handle) for i in after] == [(before.uid, before.handle)]
        ticks = [line.text for line in await eventually(lambda: ticked(client, 40), 20)]
        assert ticks == [f"tick {n}" for n in range(len(ticks))], "lines are lost or repeated"
        os.kill(int(before.handle), signal.SIGKILL)

        async def another() -> bool:
            return any(i.state == 2 and i.uid != before.uid for i in (await client.deployment(UID)).instances)

        await eventually(another)


async def until_up(client: Client):
    async def ready():
        try:
            now = await client.deployment(UID)
        except MeshError:
            return None
        return now if now.state == f.DEPLOYMENT_STATE_READY else None

    return await eventually(ready, 20)


async def ticked(client: Client, count: int) -> list[object]:
    lines = [line for line in await client.lines(UID) if line.text.startswith("tick ")]
    return lines if len(lines) >= count else []


async def test_delete_leaves_nothing(deploy: DeployHarness) -> None:
    async with deploy.here(), deploy.client() as client:
        await deploy.want(UID, 1, says("one"), instances=2)
        ready = await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)
        await deploy.want(UID, 1, deleted=True)
        await eventually(lambda: deploy.registry.deleted == [UID])
        assert all(proc.identify(int(i.handle)) is None for i in ready.instances)
        assert list(deploy.directory().iterdir()) == []
        assert list((deploy.data / "logs").iterdir()) == [] and list((deploy.data / "instances").iterdir()) == []
        with pytest.raises(NotFound):
            await client.deployment(UID)
        with pytest.raises(NotFound):
            await client.lines(UID)


async def test_reap_stops_all(deploy: DeployHarness) -> None:
    deploy.spawn()
    async with deploy.client() as client:
        await deploy.want(UID, 1, says("one"))
        pid = int((await until_up(client)).instances[0].handle)
        deploy.kill(signal.SIGKILL)
        await asyncio.to_thread(deploy.reap)
        assert proc.identify(pid) is None
        deploy.spawn()
        now = await until_up(client)
        assert sorted(i.message for i in now.instances) == ["", "Stopped with the mesh."]


async def test_one_that_is_ended_by_sigusr1_takes_its_instances_along(deploy: DeployHarness) -> None:
    child = deploy.spawn()
    async with deploy.client() as client:
        await deploy.want(UID, 1, says("one"))
        pid = int((await until_up(client)).instances[0].handle)
    await asyncio.to_thread(deploy.kill, signal.SIGUSR1)
    assert child.returncode == 0
    assert proc.identify(pid) is None
    assert list(deploy.directory().iterdir()) == []


async def test_retired_instance_is_replaced_before_it_goes(deploy: DeployHarness) -> None:
    async with deploy.here(), deploy.client() as client, watching(client) as watcher:
        await deploy.want(UID, 1, says("one"))
        first = (await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)).instances[0]
        await eventually(watcher.accepting)
        await client.endpoints.RetireInstance(RetireInstanceRequest(instance=first.uid, reason="A handler is stuck."))
        seen: set[int] = set()

        async def replaced() -> bool:
            seen.add(len(watcher.accepting()))
            return bool(watcher.accepting()) and first.uid not in watcher.endpoints

        await eventually(replaced)
        assert 0 not in seen


@pytest.mark.node
async def test_node_functions_are_deployed_too(deploy: DeployHarness) -> None:
    code = "exports.handler = async () => { console.log('said node'); return 'from node' }\n"
    revision = Revision({"app/index.js": code}, runtime=f.RUNTIME_NODE, entry_file="index.js", memory_bytes=128 << 20)
    async with deploy.here(), deploy.client() as client:
        await deploy.want(UID, 1, revision)
        ready = (await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)).instances[0]
        status, body = await ask(f"unix:{deploy.directory()}/{ready.uid}/s")
        assert status == 200 and b"from node" in body
        await eventually(lambda: said(client, "said node"))


async def test_an_instance_that_does_not_answer_is_replaced(deploy: DeployHarness) -> None:
    deploy.settings |= {"FNMESH_DEPLOY_HEALTH_INTERVAL_S": "0.2", "FNMESH_DEPLOY_HEALTH_SILENT_S": "1"}
    code = "def handler(event):\n    return 'one'\n"
    async with deploy.here(), deploy.client() as client:
        await deploy.want(UID, 1, Revision({"app/handler.py": code}, timeout_ms=100))
        first = (await client.until(UID, f.DEPLOYMENT_STATE_READY, 1)).instances[0]
        os.kill(int(first.handle), signal.SIGSTOP)

        async def replaced() -> bool:
            by_uid = {i.uid: i for i in (await client.deployment(UID)).instances}
            gone = by_uid[first.uid].state == 4 and "did not answer" in by_uid[first.uid].message
            return gone and any(i.state == 2 for i in by_uid.values())

        await eventually(replaced, 30)
