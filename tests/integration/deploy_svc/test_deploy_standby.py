"""Two deploy_svc on one database: one leads, the other answers questions and takes over when that is killed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from deploy_svc.app import app
from deploy_svc.settings import DeploySettings
from fnmesh.internal.deploy.v1.endpoint_service_pb2 import ActivateFunctionRequest, Hello, WatchEndpointsRequest
from fnmesh.registry.v1 import function_pb2 as f
from mesh.errors import NOT_LEADER, MeshError
from mesh.rpc_client import open_channel
from tests.support.deploy_harness import Client, DeployHarness, Revision, harness, watching
from tests.support.eventually import eventually

UID = "fn-abcdefghijkl"


def says(word: str) -> Revision:
    return Revision({"app/handler.py": f"def handler(event):\n    return '{word}'\n"})


@pytest.fixture
async def deploy(postgres_url: str) -> AsyncIterator[DeployHarness]:
    async with harness() as one:
        places = [f"unix:{one.run}/m/deploy-{number}.sock" for number in (1, 2)]
        one.settings |= {"FNMESH_DATABASE_URL": postgres_url, "FNMESH_DEPLOY_ADDRESS": ",".join(places)}
        one.settings["FNMESH_LISTEN_ADDRESS"] = places[0]
        yield one


@asynccontextmanager
async def client_of(deploy: DeployHarness, address: str) -> AsyncIterator[Client]:
    async with open_channel(address, token=deploy.token) as channel:
        yield Client(channel)


async def test_the_other_one_takes_over_what_runs(deploy: DeployHarness) -> None:
    first, second = deploy.settings["FNMESH_DEPLOY_ADDRESS"].split(",")
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(client_of(deploy, first))
        two = await stack.enter_async_context(client_of(deploy, second))
        deploy.spawn()
        await eventually(lambda: _leads(one))
        settings = DeploySettings.load({**deploy.settings, "FNMESH_LISTEN_ADDRESS": second})
        await stack.enter_async_context(app(settings))
        assert not await _leads(two)

        await deploy.want(UID, 1, says("one"))
        before = await two.until(UID, f.DEPLOYMENT_STATE_READY, 1)  # it answers what the leader has written
        (instance,) = before.instances

        deploy.kill()
        assert (await two.deployment(UID)).instances[0].handle == instance.handle
        await eventually(lambda: _leads(two))
        watcher = await stack.enter_async_context(watching(two))
        await eventually(watcher.accepting)
        after = await two.until(UID, f.DEPLOYMENT_STATE_READY, 1)
        assert [one.handle for one in after.instances] == [instance.handle]  # the very same process
        await deploy.want(UID, 2, says("two"))
        await two.until(UID, f.DEPLOYMENT_STATE_READY, 2)


async def test_what_only_the_leader_can_do_is_refused_by_the_other(deploy: DeployHarness) -> None:
    first, second = deploy.settings["FNMESH_DEPLOY_ADDRESS"].split(",")
    other = DeploySettings.load({**deploy.settings, "FNMESH_LISTEN_ADDRESS": second})
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(deploy.here())
        await stack.enter_async_context(app(other))
        one = await stack.enter_async_context(client_of(deploy, first))
        two = await stack.enter_async_context(client_of(deploy, second))
        either = await stack.enter_async_context(client_of(deploy, f"{first},{second}"))
        assert await _leads(one)
        call = two.endpoints.WatchEndpoints()
        with pytest.raises(MeshError) as refused:
            await call.write(WatchEndpointsRequest(hello=Hello(watcher="w")))
            async for _ in call:
                pass
        assert refused.value.reason == NOT_LEADER
        # The registry's change is seen by the leader also where the other one was asked first, and wrote it down.
        await deploy.want(UID, 1, says("one"))
        await two.until(UID, f.DEPLOYMENT_STATE_READY, 1)
        await either.until(UID, f.DEPLOYMENT_STATE_READY, 1)


async def _leads(client: Client) -> bool:
    """Whether the process behind it answers as a leader: that there is no such function."""
    try:
        await client.endpoints.ActivateFunction(ActivateFunctionRequest(function_uid="fn-nowhere"))
    except MeshError as error:
        return error.reason == "FUNCTION_NOT_FOUND"
    return False
