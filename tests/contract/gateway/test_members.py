"""Processes that come and go behind a running Envoy, and a gateway that restarts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fnmesh.internal.gateway.v1 import membership_service_pb2 as pb
from fnmesh.internal.gateway.v1 import membership_service_pb2_grpc as pb_grpc
from gateway.app import app
from gateway.domain import SERVICES
from gateway.envoy import admin
from gateway.reflection import API_SERVICES
from mesh.auth import ServiceToken
from mesh.errors import InvalidArgument, Unauthenticated
from mesh.membership import joined
from mesh.rpc_client import open_channel
from tests.support.door import (
    TOKEN,
    Door,
    Echo,
    FakeInvoke,
    fake_service,
    gateway_settings,
    listening,
    open_door,
    running_envoy,
)
from tests.support.eventually import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Load:
    """Requests without a pause, for as long as the context lasts; `failed` is what was not a 200."""

    def __init__(self) -> None:
        self.done = 0
        self.failed: list[str] = []

    @asynccontextmanager
    async def on(self, door: Door, workers: int = 8) -> AsyncIterator[None]:
        async def work(client: httpx.AsyncClient) -> None:
            while True:
                try:
                    answer = await client.get("/api/hello")
                    if answer.status_code != 200:
                        self.failed.append(f"{answer.status_code} {answer.text}")
                except httpx.HTTPError as error:
                    self.failed.append(repr(error))
                self.done += 1

        async with door.client() as client, asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(work(client)) for _ in range(workers)]
            try:
                yield
            finally:
                for one in running:
                    one.cancel()


async def test_a_second_process_joins_and_leaves_without_a_failed_request(door: Door) -> None:
    second, load = FakeInvoke("second"), Load()
    async with load.on(door), fake_service("127.0.0.1:0", invoke=second) as address:
        async with joined(door.settings.gateway_address, "invoke", address, token=ServiceToken(TOKEN)):
            await eventually(lambda: len(second.seen) > 50)
        # It has left: Envoy has said so, and its worker threads follow a moment later. What has begun there may end.
        done = load.done
        await eventually(lambda: load.done > done + 50 and second.active == 0)
        left_at, done = len(second.seen), load.done
        await eventually(lambda: load.done > done + 50)
        assert len(second.seen) == left_at
    assert load.failed == []
    assert len(door.invoke.seen) > 50


async def test_a_process_that_dies_is_left_out(door: Door) -> None:
    second, load = FakeInvoke("second"), Load()
    token = ServiceToken(TOKEN)
    async with fake_service("127.0.0.1:0", invoke=second) as address:
        channel = open_channel(door.settings.gateway_address, token=token)
        async with channel:
            call = pb_grpc.MembershipServiceStub(channel).Join()
            await call.write(pb.JoinRequest(service="invoke", address=address))
            assert (await call.read()).applied
            async with load.on(door):
                await eventually(lambda: len(second.seen) > 20)
    # The stream broke with no word of draining, and the server went with it.
    async with door.client() as client:

        async def good() -> bool:
            return all([(await client.get("/api/hello")).status_code == 200 for _ in range(10)])

        await eventually(good)


async def test_a_member_that_nobody_knows_to_be_dead_costs_no_request(door: Door, tmp_run_dir: Path) -> None:
    load = Load()
    async with open_channel(door.settings.gateway_address, token=ServiceToken(TOKEN)) as channel:
        call = pb_grpc.MembershipServiceStub(channel).Join()
        await call.write(pb.JoinRequest(service="invoke", address=f"unix:{tmp_run_dir}/nobody.sock"))
        assert (await call.read()).applied
        async with load.on(door, workers=16):
            await eventually(lambda: load.done > 3000)
    assert load.failed == []


@pytest.mark.parametrize(("service", "address"), [("nobody", "unix:/x"), ("invoke", "nonsense"), ("invoke", "h:x")])
async def test_a_member_that_makes_no_sense(door: Door, service: str, address: str) -> None:
    async with open_channel(door.settings.gateway_address, token=ServiceToken(TOKEN)) as channel:
        call = pb_grpc.MembershipServiceStub(channel).Join()
        await call.write(pb.JoinRequest(service=service, address=address))
        with pytest.raises(InvalidArgument):
            await call.read()


@pytest.mark.parametrize("token", [None, ServiceToken("x" * 32)])
async def test_only_the_mesh_may_join(door: Door, token: ServiceToken | None) -> None:
    async with open_channel(door.settings.gateway_address, token=token) as channel:
        call = pb_grpc.MembershipServiceStub(channel).Join()
        with pytest.raises(Unauthenticated):
            await call.write(pb.JoinRequest(service="invoke", address="unix:/x"))
            await call.read()


async def test_health_follows_the_members(tmp_run_dir: Path) -> None:
    async with AsyncExitStack() as stack:
        door = await stack.enter_async_context(open_door(tmp_run_dir, services=("invoke",), gateway_hold_s=0.2))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(door.target))
        stub = health_pb2_grpc.HealthStub(channel)

        async def status(service: str) -> int:
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
            return int(answer.status)

        kinds = health_pb2.HealthCheckResponse
        assert await status("fnmesh.invoke.v1.InvokeService") == kinds.SERVING
        assert await status("fnmesh.build.v1.BuildService") == kinds.NOT_SERVING
        address = await stack.enter_async_context(fake_service("127.0.0.1:0", echo=Echo("build")))
        async with joined(door.settings.gateway_address, "build", address, token=ServiceToken(TOKEN)):

            async def serving() -> bool:
                return await status("fnmesh.build.v1.BuildService") == kinds.SERVING

            await eventually(serving)
        assert await status("fnmesh.build.v1.BuildService") == kinds.NOT_SERVING
        assert "fnmesh.build.v1.BuildService" in API_SERVICES


async def test_a_gateway_that_restarts_does_not_empty_envoy(tmp_run_dir: Path) -> None:
    settings = gateway_settings(tmp_run_dir, gateway_hold_s=5.0)
    invoke, token, load = FakeInvoke(), ServiceToken(TOKEN), Load()
    async with fake_service(f"unix:{tmp_run_dir}/m/all.sock", invoke=invoke, echo=Echo("all")) as address:

        @asynccontextmanager
        async def all_joined(services: tuple[str, ...]) -> AsyncIterator[None]:
            async with asyncio.TaskGroup() as tasks:
                stop = asyncio.Event()

                async def stay(service: str) -> None:
                    async with joined(settings.gateway_address, service, address, token=token) as member:
                        await member.applied.wait()
                        await stop.wait()

                for service in services:
                    tasks.create_task(stay(service))
                try:
                    yield
                finally:
                    stop.set()

        async with running_envoy(settings) as envoy, all_joined(SERVICES):
            async with app(settings):
                host, port = await listening(settings)
                door = Door(settings, host, port, invoke, {}, envoy, tmp_run_dir)

                async def whole() -> bool:
                    async with door.client() as client:
                        return (await client.get("/health")).status_code == 200

                await eventually(whole)
            async with load.on(door):
                await eventually(lambda: load.done > 100)
                async with app(settings):
                    await eventually(whole, 30)
                    done = load.done
                    await eventually(lambda: load.done > done + 100)
    assert load.failed == []


async def test_draining_envoy_ends_connections_but_no_request(tmp_run_dir: Path) -> None:
    async with open_door(tmp_run_dir) as door:
        async with door.client() as client:
            assert "connection" not in (await client.get("/api/hello")).headers
            await admin.drain(door.settings.gateway_admin_socket)

            async def asked_to_leave() -> bool:
                answer = await client.get("/api/hello")
                assert answer.status_code == 200
                return answer.headers.get("connection") == "close"

            await eventually(asked_to_leave)
        assert await admin.active_requests(door.settings.gateway_admin_socket) == 0
        door.envoy.terminate()
        assert await door.envoy.wait() == 0
