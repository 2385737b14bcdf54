"""Spin components from a snapshot of the registry to an answer: env, rollback, restarts of whatever may die, delete."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from deploy_svc.process import proc
from fnmesh.deploy.v1.deployment_pb2 import INSTANCE_STATE_READY
from fnmesh.internal.deploy.v1.endpoint_service_pb2 import Endpoint
from fnmesh.registry.v1 import function_pb2 as f
from mesh.errors import MeshError
from tests.support import spin_tree, wasmtime_host
from tests.support.deploy_harness import Client, DeployHarness, Watcher, harness, watching
from tests.support.eventually import eventually
from tests.support.spin_tree import spin_revision

UID = "fn-abcdefghijkl"
pytestmark = pytest.mark.wasmtime


@pytest.fixture
async def deploy() -> AsyncIterator[DeployHarness]:
    async with harness("unix:///nowhere/docker.sock") as one:
        one.settings["FNMESH_WORKLOAD_SPIN_HOST"] = str(wasmtime_host.host().path)
        yield one


async def ask(deploy: DeployHarness, endpoint: Endpoint, verb: str, headers: str = "") -> tuple[int, str]:
    key = deploy.token.instance_key(endpoint.instance)
    return await spin_tree.ask(endpoint.address, verb, f"x-fn-instance-key: {key}\r\n{headers}")


async def answers(deploy: DeployHarness, watcher: Watcher, verb: str, expected: str) -> Endpoint:
    """The one instance, once it is the one that answers so."""

    async def there() -> Endpoint:
        ready = watcher.accepting()
        assert len(ready) == 1
        try:
            assert await ask(deploy, ready[0], verb) == (200, expected)
        except OSError as error:
            raise AssertionError from error
        return ready[0]

    return await eventually(there)


async def pids(client: Client) -> list[int]:
    instances = (await client.deployment(UID)).instances
    return [int(one.handle) for one in instances if one.state == INSTANCE_STATE_READY]


async def up(client: Client) -> None:
    """Returns once the service answers and the function is ready."""

    async def there() -> bool:
        try:
            return (await client.deployment(UID)).state == f.DEPLOYMENT_STATE_READY
        except MeshError as error:
            raise AssertionError from error

    await eventually(there, 90)


async def test_env_rollback_and_delete(deploy: DeployHarness) -> None:
    async with deploy.here(), deploy.client() as client, watching(client) as watcher:
        await deploy.want(UID, 1, spin_revision(env={"WORD": "one"}))
        await client.until(UID, f.DEPLOYMENT_STATE_READY, 1, deadline_s=90)
        endpoint = await answers(deploy, watcher, "variable:word", "one")
        assert await ask(deploy, endpoint, "set:kept=yes") == (200, "")
        await ask(deploy, endpoint, "print:hello", f"traceparent: 00-{7:032x}-00f067aa0ba902b7-01\r\n")

        async def said() -> list[str]:
            return [line.stream for line in await client.lines(UID, trace_id=f"{7:032x}") if line.text == "hello"]

        await eventually(lambda: said())
        await deploy.want(UID, 2, spin_revision(env={"WORD": "two"}))
        await client.until(UID, f.DEPLOYMENT_STATE_READY, 2, deadline_s=90)
        endpoint = await answers(deploy, watcher, "variable:word", "two")
        assert await ask(deploy, endpoint, "get:kept") == (200, "yes")
        await deploy.want(UID, 1)
        await client.until(UID, f.DEPLOYMENT_STATE_READY, 1, deadline_s=90)
        await answers(deploy, watcher, "variable:word", "one")
        running = await pids(client)
        await deploy.want(UID, 1, deleted=True)
        await eventually(lambda: deploy.registry.deleted == [UID], 90)
        assert [pid for pid in running if proc.identify(pid)] == []
        assert list((deploy.run / "w").iterdir()) == []
        assert not (deploy.data / "spin" / "key-value" / UID).exists()


async def test_a_killed_host_is_replaced_and_only_requests_under_way_fail(deploy: DeployHarness) -> None:
    async with deploy.here(), deploy.client() as client, watching(client) as watcher, asyncio.TaskGroup() as tasks:
        await deploy.want(UID, 1, spin_revision(), instances=2)
        await client.until(UID, f.DEPLOYMENT_STATE_READY, 1, deadline_s=90)
        await eventually(lambda: len(watcher.accepting()) == 2)
        refused: list[str] = []
        cut: list[str] = []
        well: list[str] = []
        stop = asyncio.Event()

        async def load() -> None:
            while not stop.is_set():
                for endpoint in watcher.accepting()[::-1]:  # where one cannot be reached the other one is asked
                    try:
                        assert await ask(deploy, endpoint, "hello") == (200, "hello")
                        well.append(endpoint.instance)
                        break
                    except ConnectionRefusedError:
                        refused.append(endpoint.instance)
                    except ConnectionError:
                        cut.append(endpoint.instance)
                        break
                await asyncio.sleep(0.01)

        loads = [tasks.create_task(load()) for _ in range(4)]
        await eventually(lambda: len(well) > 20)
        (killed, *_) = [one for one in watcher.accepting() if one.instance == well[-1]]
        handles = {one.uid: int(one.handle) for one in (await client.deployment(UID)).instances}
        os.kill(handles[killed.instance], signal.SIGKILL)
        await eventually(lambda: killed.instance not in {one.instance for one in watcher.accepting()})
        await eventually(lambda: len(watcher.accepting()) == 2, 90)
        after = len(well)
        await eventually(lambda: len(well) > after + 20)
        stop.set()
        await asyncio.wait(loads)
        assert set(cut) | set(refused) <= {killed.instance} and len(cut) <= len(loads)


async def test_instances_outlive_the_service(deploy: DeployHarness) -> None:
    deploy.spawn()
    async with deploy.client() as client:
        await deploy.want(UID, 1, spin_revision())
        await up(client)
        async with watching(client) as watcher:
            endpoint = await answers(deploy, watcher, "hello", "hello")
            before = await pids(client)
    deploy.kill()
    assert await ask(deploy, endpoint, "hello") == (200, "hello")
    deploy.spawn()
    async with deploy.client() as client:
        await up(client)
        assert await pids(client) == before
        assert await ask(deploy, endpoint, "hello") == (200, "hello")
        os.kill(before[0], signal.SIGKILL)

        async def replaced() -> bool:
            return bool(set(await pids(client)) - set(before))

        await eventually(replaced, 90)


async def test_what_cannot_be_started_says_why(deploy: DeployHarness) -> None:
    async with deploy.here(), deploy.client() as client:
        broken = replace(spin_revision(), files=spin_tree.artifact_files(wasm=b"\0asm\x01\0\0\0"))
        await deploy.want(UID, 1, broken)
        deployment = await client.until(UID, f.DEPLOYMENT_STATE_FAILED, deadline_s=90)
        assert "core module, not a component" in deployment.message
