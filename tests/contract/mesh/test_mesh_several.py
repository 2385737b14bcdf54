"""A channel to several processes of a service: calls go to those that are there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from fnmesh.deploy.v1 import deploy_service_pb2 as pb
from fnmesh.deploy.v1 import deploy_service_pb2_grpc as pb_grpc
from fnmesh.deploy.v1 import deployment_pb2
from fnmesh.invoke.v1 import invoke_service_pb2 as invoke_pb
from fnmesh.invoke.v1 import invoke_service_pb2_grpc as invoke_grpc
from mesh.auth import Authenticator, ServiceToken
from mesh.errors import NOT_LEADER, Unavailable
from mesh.rpc_client import open_channel
from mesh.rpc_server import serve
from tests.support.eventually import eventually
from tests.support.ports import free_port

TOKEN = ServiceToken("t" * 32)
CHANNELS, CALLERS_OF_EACH, STOPS = 4, 4, 4


class Deploy(pb_grpc.DeployServiceServicer):
    """One of several; one that stands by refuses."""

    def __init__(self, name: str, *, stands_by: bool = False) -> None:
        self.name, self.stands_by = name, stands_by

    async def GetDeployment(self, request: Any, context: Any) -> deployment_pb2.Deployment:
        if self.stands_by:
            raise Unavailable(NOT_LEADER, "Another one leads.", retry_after_s=0.01)
        return deployment_pb2.Deployment(name=self.name)

    async def WatchDeployment(self, request: Any, context: Any) -> AsyncIterator[deployment_pb2.Deployment]:
        if self.stands_by:
            raise Unavailable(NOT_LEADER, "Another one leads.", retry_after_s=0.01)
        yield deployment_pb2.Deployment(name=self.name)


@asynccontextmanager
async def serving(listen: str, servicer: Deploy) -> AsyncIterator[None]:
    async with serve(
        listen,
        lambda server: pb_grpc.add_DeployServiceServicer_to_server(servicer, server),
        public_services=("fnmesh.deploy.v1.DeployService",),
        auth=Authenticator("off", TOKEN),
        drain_s=0,
    ):
        yield


@pytest.fixture(params=["unix", "tcp"])
def places(request: pytest.FixtureRequest, tmp_run_dir: Path) -> list[str]:
    if request.param == "unix":
        return [f"unix:{tmp_run_dir}/{number}.sock" for number in (1, 2)]
    return [f"127.0.0.1:{free_port()}" for _ in range(2)]


async def test_both_are_used_and_one_alone_serves_all(places: list[str]) -> None:
    async with AsyncExitStack() as stack, open_channel(",".join(places), token=TOKEN) as channel:
        deploy = pb_grpc.DeployServiceStub(channel)

        async def answers() -> set[str]:
            return {(await deploy.GetDeployment(pb.GetDeploymentRequest())).name for _ in range(6)}

        await stack.enter_async_context(serving(places[0], Deploy("one")))
        assert await answers() == {"one"}
        async with serving(places[1], Deploy("two")):
            await eventually(lambda: _equal(answers, {"one", "two"}))
        for _ in range(50):  # the other one has gone: no call notices
            assert await answers() == {"one"}


async def test_one_that_stands_by_is_passed_over(places: list[str]) -> None:
    async with (
        serving(places[0], Deploy("one", stands_by=True)),
        serving(places[1], Deploy("two")),
        open_channel(",".join(places), token=TOKEN) as channel,
    ):
        deploy = pb_grpc.DeployServiceStub(channel)

        async def first() -> str:
            try:
                return (await deploy.GetDeployment(pb.GetDeploymentRequest())).name
            except Unavailable as error:
                raise AssertionError(error) from None  # it is not connected to the other one yet

        assert await eventually(first) == "two"
        for _ in range(20):
            assert (await deploy.GetDeployment(pb.GetDeploymentRequest())).name == "two"
            assert [one.name async for one in deploy.WatchDeployment(pb.WatchDeploymentRequest())] == ["two"]


async def test_where_all_stand_by_the_caller_is_told(places: list[str]) -> None:
    async with (
        serving(places[0], Deploy("one", stands_by=True)),
        serving(places[1], Deploy("two", stands_by=True)),
        open_channel(",".join(places), token=TOKEN) as channel,
    ):
        with pytest.raises(Unavailable) as told:
            async for _ in pb_grpc.DeployServiceStub(channel).WatchDeployment(pb.WatchDeploymentRequest()):
                pass
    assert told.value.reason == NOT_LEADER


async def test_a_stream_that_ends_goes_on_at_the_other_one(places: list[str]) -> None:
    async with AsyncExitStack() as stack, open_channel(",".join(places), token=TOKEN) as channel:
        deploy = pb_grpc.DeployServiceStub(channel)
        await stack.enter_async_context(serving(places[0], Deploy("one")))
        await stack.enter_async_context(serving(places[1], Deploy("two")))

        seen: set[str] = set()

        async def both_are_seen() -> bool:
            told = [one.name async for one in deploy.WatchDeployment(pb.WatchDeploymentRequest())]
            assert len(told) == 1
            seen.update(told)
            return seen == {"one", "two"}

        await eventually(both_are_seen)


class Invoke(invoke_grpc.InvokeServiceServicer):
    async def Invoke(self, request: Any, context: Any) -> invoke_pb.InvokeResponse:
        await asyncio.sleep(0)
        return invoke_pb.InvokeResponse()


@asynccontextmanager
async def invoking(listen: str) -> AsyncIterator[None]:
    async with serve(
        listen,
        lambda server: invoke_grpc.add_InvokeServiceServicer_to_server(Invoke(), server),
        public_services=("fnmesh.invoke.v1.InvokeService",),
        auth=Authenticator("off", TOKEN),
        drain_s=5,
    ):
        yield


async def test_one_that_stops_in_order_costs_no_call(places: list[str]) -> None:
    done = asyncio.Event()
    answered = 0

    async def keep_calling(channel: grpc.aio.Channel) -> None:
        nonlocal answered
        stub = invoke_grpc.InvokeServiceStub(channel)
        while not done.is_set():
            await stub.Invoke(invoke_pb.InvokeRequest())  # not one that is tried again
            answered += 1

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(invoking(places[0]))
        channels = [
            await stack.enter_async_context(open_channel(",".join(places), token=TOKEN)) for _ in range(CHANNELS)
        ]
        async with asyncio.TaskGroup() as tasks:
            for channel in channels * CALLERS_OF_EACH:
                tasks.create_task(keep_calling(channel))
            for _ in range(STOPS):
                async with invoking(places[1]):
                    before = answered
                    await eventually(lambda before=before: answered > before + 200)
            done.set()


async def _equal(probe: Any, wanted: set[str]) -> bool:
    return bool(await probe() == wanted)
