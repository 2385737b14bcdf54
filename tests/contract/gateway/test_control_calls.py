"""The public gRPC services and the REST facade through a real Envoy, and what must not be reached."""

from __future__ import annotations

import grpc
import grpc.aio
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from fnmesh.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from gateway.reflection import API_SERVICES
from tests.support.door import TOKEN, Door
from tests.support.eventually import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def call(door: Door, method: str, *, authority: str = "", **metadata: str) -> bytes:
    options = [("grpc.default_authority", authority)] if authority else []
    async with grpc.aio.insecure_channel(door.target, options=options) as channel:
        pairs = tuple((name.replace("_", "-"), value) for name, value in metadata.items())
        answer: bytes = await channel.unary_unary(method)(b"request", metadata=pairs, timeout=10)
        return answer


@pytest.mark.parametrize(
    ("method", "service"),
    [
        ("/fnmesh.registry.v1.RegistryService/GetFunction", "registry"),
        ("/fnmesh.build.v1.BuildService/CreateBuild", "build"),
        ("/fnmesh.deploy.v1.DeployService/GetDeployment", "deploy"),
        ("/fnmesh.invoke.v1.InvokeService/Invoke", "invoke"),
    ],
)
async def test_public_services_are_reached(door: Door, method: str, service: str) -> None:
    assert await call(door, method, authorization="Bearer fnm_x", x_fnmesh_service_token="forged") == b"request"
    ((seen, metadata),) = door.echoes[service].calls
    assert seen == method
    assert metadata["authorization"] == "Bearer fnm_x"
    assert "x-fnmesh-service-token" not in metadata
    assert TOKEN not in str(metadata)
    assert {name for name in metadata if name.startswith(("x-envoy-", "x-fn-"))} == {"x-fn-trace"}


@pytest.mark.parametrize(
    "method",
    [
        "/fnmesh.internal.registry.v1.RegistryInternalService/GetWorkload",
        "/fnmesh.internal.invoke.v1.HttpService/InvokeHttp",
        "/fnmesh.internal.deploy.v1.EndpointService/RetireInstance",
        "/fnmesh.internal.gateway.v1.MembershipService/Join",
        "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        "/fnmesh.registry.v1.RegistryServiceX/GetFunction",
        "//fnmesh.internal.invoke.v1.HttpService/InvokeHttp",
        "/fnmesh.registry.v1.RegistryService",
    ],
)
async def test_nothing_else_is(door: Door, method: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(door, method, x_fnmesh_service_token=TOKEN)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert all(not echo.calls for echo in door.echoes.values())


async def test_a_path_cannot_climb_out_of_a_public_service(door: Door) -> None:
    method = "/fnmesh.registry.v1.RegistryService/../../fnmesh.internal.registry.v1.X/Y"
    await call(door, method)
    assert [seen for seen, _ in door.echoes["registry"].calls] == [method]


async def test_only_grpc_reaches_a_grpc_service(door: Door) -> None:
    async with door.client() as client:
        answer = await client.post("/fnmesh.build.v1.BuildService/CreateBuild", content=b"{}")
    assert (answer.status_code, door.echoes["build"].calls) == (404, [])


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "127.9.9.9:80", "[::1]:8080", "a.localhost", "LOCALHOST"])
async def test_hosts_of_this_machine_may_call(door: Door, host: str) -> None:
    async with door.client() as client:
        assert (await client.get("/health", headers={"host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "10.0.0.1", "x@localhost"],
)
async def test_other_hosts_may_not(door: Door, host: str) -> None:
    async with door.client() as client:
        answer = await client.get("/health", headers={"host": host})
        function = await client.get("/api/hello", headers={"host": host})
    assert (answer.status_code, function.status_code) == (403, 200)
    assert (answer.json()["code"], answer.json()["reason"]) == ("PERMISSION_DENIED", "HOST_NOT_ALLOWED")
    assert answer.json()["trace_id"] == answer.headers["x-trace-id"]


async def test_a_page_of_another_origin_may_not_call(door: Door) -> None:
    async with door.client() as client:
        answer = await client.get("/health", headers={"origin": "http://evil.example"})
        null = await client.get("/health", headers={"origin": "null"})
        own = await client.get("/health", headers={"origin": door.url})
        function = await client.get("/api/hello", headers={"origin": "http://evil.example"})
    assert (answer.status_code, null.status_code, own.status_code, function.status_code) == (403, 403, 200, 200)
    assert answer.json()["reason"] == "ORIGIN_NOT_ALLOWED"


@pytest.mark.parametrize(
    ("authority", "origin"),
    [("evil.example", ""), ("", "http://evil.example"), ("evil.example", "http://evil.example")],
)
async def test_a_refused_grpc_call_is_a_grpc_error(door: Door, authority: str, origin: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        metadata = {"origin": origin} if origin else {}
        await call(door, "/fnmesh.build.v1.BuildService/CreateBuild", authority=authority, **metadata)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert "FNMESH_GATEWAY_ALLOWED_" in (caught.value.details() or "")
    assert door.echoes["build"].calls == []


async def test_reflection_shows_the_public_api_and_no_more(door: Door) -> None:
    async with grpc.aio.insecure_channel(door.target) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)

        async def asked(**question: str) -> reflection_pb2.ServerReflectionResponse:
            async for answer in stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(**question)])):
                return answer
            raise AssertionError("no answer")

        listed = {one.name for one in (await asked(list_services="")).list_services_response.service}
        assert set(API_SERVICES) <= listed
        assert not [name for name in listed if "internal" in name or "opentelemetry" in name or "envoy" in name]
        for service in API_SERVICES:
            answer = await asked(file_containing_symbol=service)
            (blob,) = answer.file_descriptor_response.file_descriptor_proto[:1]
            file = descriptor_pb2.FileDescriptorProto.FromString(blob)
            assert service in {f"{file.package}.{one.name}" for one in file.service}


async def test_health_of_each_service(door: Door) -> None:
    async with grpc.aio.insecure_channel(door.target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", *API_SERVICES):
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING, service
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(health_pb2.HealthCheckRequest(service="nobody"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_the_rest_facade(door: Door) -> None:
    async with door.client() as client:
        health = await client.get("/health")
        assert (health.status_code, health.json()["status"]) == (200, "ok")
        assert health.json()["version"]
        about = await client.get("/")
        assert about.json()["name"] == "fnmesh"
        page = await client.get("/", headers={"accept": "text/html"})
        assert page.headers["content-type"].startswith("text/html")
        openapi = (await client.get("/openapi.json")).json()
        assert {"/", "/health"} <= set(openapi["paths"])
        for path in ("/docs", "/redoc"):
            docs = await client.get(path)
            assert "GET /health" in docs.text
            # Everything a browser needs is in the page: it works without a network.
            assert "http://" not in docs.text
            assert "https://" not in docs.text
            assert "<script" not in docs.text
        refused = await client.post("/health")
        assert refused.status_code == 405


async def test_a_request_can_be_found_by_its_trace(door: Door) -> None:
    async with door.client() as client, grpc.aio.insecure_channel(door.target) as channel:
        stub = trace_service_pb2_grpc.TraceServiceStub(channel)

        async def found() -> tuple[str, trace_service_pb2.Trace]:
            name = f"traces/{(await client.get('/api/hello/world?secret=1')).headers['x-trace-id']}"
            try:
                return name, await stub.GetTrace(trace_service_pb2.GetTraceRequest(name=name), timeout=10)
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.NOT_FOUND, error
                raise AssertionError(error.details()) from None  # Envoy had not sent it yet

        name, trace = await eventually(found)
        (span,) = trace.spans
        assert (trace.name, span.service, span.display_name) == (name, "envoy", "GET /api/hello/world")
        assert span.attributes["http.status_code"] == "200"
        assert "secret" not in str(trace)
        for wrong, code in [
            ("traces/" + "0" * 32, grpc.StatusCode.NOT_FOUND),
            ("traces/xyz", grpc.StatusCode.INVALID_ARGUMENT),
        ]:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.GetTrace(trace_service_pb2.GetTraceRequest(name=wrong), timeout=10)
            assert caught.value.code() is code


async def test_a_trace_of_the_caller_goes_on(door: Door) -> None:
    for flag in ("01", "00"):
        trace_id = f"{int(flag):02d}" + "ab" * 15
        async with door.client() as client:
            parent = f"00-{trace_id}-00f067aa0ba902b7-{flag}"
            answer = await client.get("/api/hello", headers={"traceparent": parent})
        assert answer.headers["x-trace-id"] == trace_id
        sent = door.invoke.seen[-1].one("traceparent").split("-")
        assert (sent[1], sent[3]) == (trace_id, flag)
        assert sent[2] != "00f067aa0ba902b7"
