"""DeployService and EndpointService over real gRPC, with real processes behind them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from deploy_svc.app import DeployApp
from fnmesh.deploy.v1 import deploy_service_pb2 as pb
from fnmesh.deploy.v1 import deploy_service_pb2_grpc as pb_grpc
from fnmesh.deploy.v1.deployment_pb2 import LOG_STREAM_STDOUT, LOG_STREAM_SYSTEM
from fnmesh.internal.deploy.v1 import endpoint_service_pb2 as endpoint_pb
from fnmesh.registry.v1 import function_pb2 as f
from mesh.errors import InvalidArgument, NotFound, Unauthenticated
from mesh.rpc_client import open_channel
from tests.support.deploy_harness import Client, DeployHarness, Revision, harness, watching
from tests.support.eventually import eventually

UID = "fn-abcdefghijkl"
PARENT = "workspaces/default/functions/abcdefghijkl"
PRINTS = Revision(
    {"app/handler.py": "import os\nprint('imported', os.getpid())\ndef handler(event):\n    print('called')\n"}
)


@pytest.fixture
async def mesh() -> AsyncIterator[DeployHarness]:
    async with harness("unix:///nowhere/docker.sock") as one:
        yield one


@pytest.fixture
async def running(mesh: DeployHarness) -> AsyncIterator[DeployApp]:
    async with mesh.here() as app:
        yield app


@pytest.fixture
async def client(mesh: DeployHarness, running: DeployApp) -> AsyncIterator[Client]:
    async with mesh.client() as one:
        yield one


async def test_watch_deployment_tells_every_state(mesh: DeployHarness, client: Client) -> None:
    await mesh.want(UID, 1, PRINTS)
    states = []
    async with asyncio.timeout(20):
        request = pb.WatchDeploymentRequest(name=f"{PARENT}/deployment")
        async for deployment in client.deploy.WatchDeployment(request):
            states.append(deployment.state)
            if deployment.state == f.DEPLOYMENT_STATE_READY:
                break
    assert deployment.name == f"workspaces/ws-default/functions/{UID}/deployment"
    assert list(deployment.ready_revisions) == [1] and deployment.version > 0
    assert f.DEPLOYMENT_STATE_READY not in states[:-1]


async def test_who_is_told_of_a_state_finds_it_in_the_registry(mesh: DeployHarness, client: Client) -> None:
    mesh.registry.slow_s = 0.3
    await mesh.want(UID, 1, PRINTS)
    async with asyncio.timeout(20):
        async for deployment in client.deploy.WatchDeployment(pb.WatchDeploymentRequest(name=f"{PARENT}/deployment")):
            if deployment.state == f.DEPLOYMENT_STATE_READY:
                break
    assert mesh.registry.reports[-1].state == f.DEPLOYMENT_STATE_READY


async def test_a_state_is_told_too_while_the_registry_does_not_take_it(mesh: DeployHarness, client: Client) -> None:
    mesh.registry.deaf = True
    await mesh.want(UID, 1, PRINTS)
    async with asyncio.timeout(20):
        async for deployment in client.deploy.WatchDeployment(pb.WatchDeploymentRequest(name=f"{PARENT}/deployment")):
            if deployment.state == f.DEPLOYMENT_STATE_READY:
                break
    assert not mesh.registry.reports


async def test_logs_are_followed_as_they_are_written(mesh: DeployHarness, client: Client) -> None:
    await mesh.want(UID, 1, PRINTS)
    ready = await client.until(UID, f.DEPLOYMENT_STATE_READY)
    address = f"{mesh.directory()}/{ready.instances[0].uid}/s"
    trace = "0af7651916cd43dd8448eb211c80319c"
    request = pb.ReadLogsRequest(parent=PARENT, follow=True, trace_id=trace)

    async def first_line() -> float:
        async for line in client.deploy.ReadLogs(request):
            assert line.text == "called" and line.stream == LOG_STREAM_STDOUT
            return time.monotonic()
        raise AssertionError("the stream ended")

    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(first_line())
        reader, writer = await asyncio.open_unix_connection(address)
        asked = time.monotonic()
        writer.write(b"GET /api/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n")
        writer.write(f"traceparent: 00-{trace}-b7ad6b7169203331-01\r\n\r\n".encode())
        await reader.read()
        writer.close()
        assert await following - asked < 4  # it was woken: without that it looks again every 5 s


async def test_logs_are_resumed_and_say_what_the_platform_did(mesh: DeployHarness, client: Client) -> None:
    await mesh.want(UID, 1, PRINTS)
    await client.until(UID, f.DEPLOYMENT_STATE_READY)

    async def imported() -> bool:
        return any(line.text.startswith("imported") for line in await client.lines(UID))

    await eventually(imported)
    lines = await client.lines(UID)
    assert lines[0].stream == LOG_STREAM_SYSTEM and lines[0].text.startswith("Started revision 1")
    assert [line.sequence for line in lines] == list(range(1, len(lines) + 1))
    assert await client.lines(UID, after_sequence=lines[0].sequence) == lines[1:]
    assert await client.lines(UID, tail=1) == lines[-1:]
    assert await client.lines(UID, contains=["imported"], lacks=["Started"]) == [
        line for line in lines if "imported" in line.text
    ]
    assert await client.lines(UID, start_time=lines[0].write_time, end_time=lines[0].write_time) == []
    far = Timestamp(seconds=1 << 50)
    for fields in ({"tail": 10_001}, {"contains": ["x"] * 11}, {"lacks": ["x" * 1001]}, {"start_time": far}):
        with pytest.raises(InvalidArgument):
            await client.lines(UID, **fields)


async def test_what_is_not_there(client: Client) -> None:
    with pytest.raises(NotFound):
        await client.deployment("fn-nothing")
    with pytest.raises(InvalidArgument):
        await client.deploy.GetDeployment(pb.GetDeploymentRequest(name="workspaces/x"))
    with pytest.raises(NotFound):
        await client.endpoints.RetireInstance(endpoint_pb.RetireInstanceRequest(instance="in-none"))


async def test_targets_say_what_to_do(client: Client) -> None:
    answer = await client.deploy.ListTargets(pb.ListTargetsRequest())
    by_target = {one.target: one for one in answer.targets}
    assert by_target[f.TARGET_PROCESS].available and "not a sandbox" in by_target[f.TARGET_PROCESS].message
    assert not by_target[f.TARGET_DOCKER].available and "DOCKER_HOST" in by_target[f.TARGET_DOCKER].message
    assert "make setup-spin" in by_target[f.TARGET_SPIN].message or by_target[f.TARGET_SPIN].available
    assert answer.default_target == f.TARGET_PROCESS


async def test_internal_calls_need_the_service_token(mesh: DeployHarness, running: DeployApp) -> None:
    async with open_channel(running.server.address) as channel:
        with pytest.raises(Unauthenticated):
            await Client(channel).endpoints.RetireInstance(endpoint_pb.RetireInstanceRequest(instance="in-x"))


async def test_with_keys_the_public_calls_need_one(mesh: DeployHarness) -> None:
    mesh.settings["FNMESH_AUTH"] = "keys"
    async with mesh.here() as app, grpc.aio.insecure_channel(app.server.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await pb_grpc.DeployServiceStub(channel).ListTargets(pb.ListTargetsRequest())
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_watcher_gets_all_then_changes(mesh: DeployHarness, client: Client) -> None:
    await mesh.want(UID, 1, PRINTS)
    await client.until(UID, f.DEPLOYMENT_STATE_READY)
    async with watching(client) as watcher:
        await asyncio.wait_for(watcher.synced.wait(), 10)
        (endpoint,) = watcher.accepting()
        assert endpoint.function_uid == UID and endpoint.concurrency == 10 and endpoint.timeout_ms == 5000
        await mesh.want(UID, 1, running=False)
        await eventually(lambda: not watcher.endpoints)
        stopped = await client.until(UID, f.DEPLOYMENT_STATE_STOPPED)
        assert stopped.desired_revision == 0


async def test_a_draining_instance_waits_for_its_watchers(mesh: DeployHarness, client: Client) -> None:
    await mesh.want(UID, 1, PRINTS)
    await client.until(UID, f.DEPLOYMENT_STATE_READY)
    async with watching(client, lets_go=False) as watcher:
        (old,) = await eventually(watcher.accepting)
        await mesh.want(UID, 2, PRINTS)
        await client.until(UID, f.DEPLOYMENT_STATE_READY, 2)
        await eventually(lambda: not watcher.endpoints[old.instance].accepting)
        reader, writer = await asyncio.open_unix_connection(old.address.removeprefix("unix:"))
        writer.write(b"GET /api/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200")  # it still serves
        writer.close()
        await watcher.release(old.instance, watcher.endpoints[old.instance].version)
        await eventually(lambda: old.instance not in watcher.endpoints)


async def test_the_first_message_of_a_watcher_says_who_it_is(client: Client) -> None:
    call = client.endpoints.WatchEndpoints()
    await call.write(endpoint_pb.WatchEndpointsRequest(ack=endpoint_pb.Ack()))
    with pytest.raises(InvalidArgument):
        await call.read()


async def test_a_target_that_does_not_answer_is_pending_and_says_so(mesh: DeployHarness, client: Client) -> None:
    await mesh.want(UID, 1, Revision(target=f.TARGET_DOCKER, image="sha256:none"))
    deployment = await client.until(UID, f.DEPLOYMENT_STATE_PENDING)

    async def told() -> bool:
        return "Docker does not answer" in (await client.deployment(UID)).message

    await eventually(told)
    assert deployment.desired_revision == 1
