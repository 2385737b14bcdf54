"""Two gateways and one Envoy: it follows either, and goes on with what it knows when that one is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp_pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as otlp_grpc

from fnmesh.internal.gateway.v1 import membership_service_pb2 as membership_pb
from fnmesh.internal.gateway.v1 import membership_service_pb2_grpc as membership_grpc
from fnmesh.trace.v1 import trace_service_pb2 as trace_pb
from fnmesh.trace.v1 import trace_service_pb2_grpc as trace_grpc
from gateway.app import app
from gateway.domain import SERVICES
from gateway.settings import GatewaySettings
from mesh.auth import ServiceToken
from mesh.membership import joined
from mesh.rpc_client import open_channel
from tests.support.door import TOKEN, Door, Echo, FakeInvoke, fake_service, gateway_settings, listening, running_envoy
from tests.support.eventually import eventually

TRACE = bytes(range(16))


@pytest.fixture
def settings(tmp_run_dir: Path) -> list[GatewaySettings]:
    """Of the first and of the second one."""
    places = [f"unix:{tmp_run_dir}/m/gateway-{number}.sock" for number in (1, 2)]
    rest = [f"unix:{tmp_run_dir}/m/rest-{number}.sock" for number in (1, 2)]
    both = {"gateway_address": ",".join(places), "gateway_rest_address": ",".join(rest)}
    return [
        gateway_settings(tmp_run_dir, **both, listen_address=place, gateway_rest_listen=facade)
        for place, facade in zip(places, rest, strict=True)
    ]


@asynccontextmanager
async def members(settings: GatewaySettings, invoke: FakeInvoke) -> AsyncIterator[None]:
    """One of each service, known to all gateways there are."""
    async with AsyncExitStack() as stack:
        where = f"unix:{settings.run_dir}/m/all.sock"
        address = await stack.enter_async_context(fake_service(where, invoke=invoke, echo=Echo("all")))
        for service in SERVICES:
            await stack.enter_async_context(
                joined(settings.gateway_address, service, address, token=ServiceToken(TOKEN))
            )
        yield


async def test_envoy_goes_on_without_the_one_it_followed(settings: list[GatewaySettings]) -> None:
    first, second = settings
    invoke = FakeInvoke()
    async with running_envoy(first) as envoy, members(first, invoke), AsyncExitStack() as stack:
        one, two = AsyncExitStack(), AsyncExitStack()
        await stack.enter_async_context(one)
        await stack.enter_async_context(two)
        await one.enter_async_context(app(first))
        await two.enter_async_context(app(second))
        host, port = await listening(first)
        door = Door(first, host, port, invoke, {}, envoy, first.run_dir)
        async with door.client() as client:
            for leaving, coming in ((one, first), (two, second)):
                for each in settings:
                    await eventually(lambda one=each: _knows_all(one))
                await eventually(lambda: _good(client, "/api/hello"))
                await leaving.aclose()
                for _ in range(20):
                    assert (await client.get("/api/hello")).status_code == 200
                    answer = await client.get("/health")
                    assert answer.status_code == 200, answer.text
                newcomer = FakeInvoke("newcomer")
                async with fake_service("127.0.0.1:0", invoke=newcomer) as address:
                    token = ServiceToken(TOKEN)
                    async with joined(first.gateway_address, "invoke", address, token=token):  # told by the other one
                        await eventually(lambda n=newcomer: _asked(client, n))
                await leaving.enter_async_context(app(coming))


async def test_a_gateway_that_starts_waits_for_all_whom_the_other_one_knows(settings: list[GatewaySettings]) -> None:
    first, second = (one.model_copy(update={"gateway_hold_s": 60.0}) for one in settings)
    places = {service: f"unix:{first.run_dir}/m/{service}.sock" for service in SERVICES}
    other = f"unix:{first.run_dir}/m/registry-2.sock"
    async with app(first), AsyncExitStack() as early, AsyncExitStack() as late:
        for service, place in [*places.items(), ("registry", other)]:
            await late.enter_async_context(_member(first, service, place))
        await eventually(lambda: _knows_all(first))
        async with app(second):
            for service, place in places.items():
                stack = early if service == "registry" else late
                await stack.enter_async_context(_member(second, service, place))
            for _ in range(10):
                assert not _serves(second)
                assert await _says_serving(second)
                await asyncio.sleep(0.1)
            await late.enter_async_context(_member(second, "registry", other))
            await eventually(lambda: _knows_all(second))
            await early.aclose()
            assert await _knows_all(second)
            assert await _says_serving(second)


async def test_a_gateway_that_starts_does_not_wait_for_who_has_gone(settings: list[GatewaySettings]) -> None:
    first, second = (one.model_copy(update={"gateway_hold_s": 60.0}) for one in settings)
    places = {service: f"unix:{first.run_dir}/m/{service}.sock" for service in SERVICES}
    async with app(first), AsyncExitStack() as stay, AsyncExitStack() as gone:
        for service, place in places.items():
            await stay.enter_async_context(_member(first, service, place))
        await gone.enter_async_context(_member(first, "invoke", f"unix:{first.run_dir}/m/invoke-2.sock"))
        await eventually(lambda: _knows_all(first))
        async with app(second):
            for service, place in places.items():
                await stay.enter_async_context(_member(second, service, place))
            assert not _serves(second)
            await gone.aclose()
            await eventually(lambda: _knows_all(second))


async def test_spans_are_found_whichever_gateway_has_them(settings: list[GatewaySettings]) -> None:
    settings = [one.model_copy(update={"gateway_hold_s": 0.0}) for one in settings]  # nobody will join
    async with app(settings[0]), app(settings[1]):
        for number, one in enumerate(settings):
            async with open_channel(one.listen_address, token=ServiceToken(TOKEN)) as channel:
                export = otlp_pb.ExportTraceServiceRequest()
                span = export.resource_spans.add().scope_spans.add().spans.add(trace_id=TRACE, name=f"span {number}")
                span.span_id = bytes([number + 1] * 8)
                await otlp_grpc.TraceServiceStub(channel).Export(export)
        for one in settings:
            async with grpc.aio.insecure_channel(one.listen_address) as channel:
                request = trace_pb.GetTraceRequest(name=f"traces/{TRACE.hex()}")
                trace = await trace_grpc.TraceServiceStub(channel).GetTrace(request)
                assert sorted(span.display_name for span in trace.spans) == ["span 0", "span 1"]


async def test_a_gateway_that_is_gone_costs_a_trace_only_its_own_spans(settings: list[GatewaySettings]) -> None:
    alone = settings[0].model_copy(update={"gateway_hold_s": 0.0})
    async with app(alone), open_channel(alone.listen_address, token=ServiceToken(TOKEN)) as channel:
        export = otlp_pb.ExportTraceServiceRequest()
        export.resource_spans.add().scope_spans.add().spans.add(trace_id=TRACE, span_id=b"12345678", name="here")
        await otlp_grpc.TraceServiceStub(channel).Export(export)
        request = trace_pb.GetTraceRequest(name=f"traces/{TRACE.hex()}")
        trace = await trace_grpc.TraceServiceStub(channel).GetTrace(request)
        assert [span.display_name for span in trace.spans] == ["here"]


@asynccontextmanager
async def _member(settings: GatewaySettings, service: str, address: str) -> AsyncIterator[None]:
    """A member of one gateway only, from when that has heard of it."""
    request = membership_pb.JoinRequest(service=service, address=address)
    async with open_channel(settings.listen_address, token=ServiceToken(TOKEN)) as channel:
        stub = membership_grpc.MembershipServiceStub(channel)
        call = stub.Join()
        await call.write(request)

        async def known() -> bool:
            answer = await stub.ListMembers(membership_pb.ListMembersRequest())
            return (service, address) in {(one.service, one.address) for one in answer.members}

        await eventually(known)
        yield


def _serves(settings: GatewaySettings) -> bool:
    """Whether the facade of that gateway is there."""
    return Path(settings.gateway_rest_listen.removeprefix("unix:")).exists()


async def _says_serving(settings: GatewaySettings) -> bool:
    """What it says of the registry to those who ask for its health."""
    async with grpc.aio.insecure_channel(settings.listen_address) as channel:
        request = health_pb2.HealthCheckRequest(service="fnmesh.registry.v1.RegistryService")
        answer = await health_pb2_grpc.HealthStub(channel).Check(request)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def _knows_all(settings: GatewaySettings) -> bool:
    """Whether the facade of that gateway serves, and misses nobody."""
    place = httpx.AsyncHTTPTransport(uds=settings.gateway_rest_listen.removeprefix("unix:"))
    try:
        async with httpx.AsyncClient(base_url="http://gateway", transport=place) as client:
            return (await client.get("/health")).status_code == 200
    except httpx.ConnectError:
        return False


async def _good(client: httpx.AsyncClient, path: str) -> bool:
    """Whether all of some requests are answered well: each gateway gets its turn."""
    return all([(await client.get(path)).status_code == 200 for _ in range(6)])


async def _asked(client: httpx.AsyncClient, newcomer: FakeInvoke) -> bool:
    assert await _good(client, "/api/hello")
    return bool(newcomer.seen)
