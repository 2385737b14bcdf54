"""Server and channel of the mesh, against each other over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from fnmesh.deploy.v1 import deploy_service_pb2, deploy_service_pb2_grpc, deployment_pb2
from fnmesh.internal.gateway.v1 import membership_service_pb2, membership_service_pb2_grpc
from fnmesh.invoke.v1 import invoke_service_pb2, invoke_service_pb2_grpc
from mesh import deadline, telemetry
from mesh.auth import Authenticator, Principal, Scope, ServiceToken, current_principal, require_scope
from mesh.errors import (
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    MeshError,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from mesh.rpc_client import open_channel
from mesh.rpc_server import BoundServer, serve
from tests.support.eventually import eventually

TOKEN = ServiceToken("t" * 32)
PUBLIC = ("fnmesh.deploy.v1.DeployService", "fnmesh.invoke.v1.InvokeService")
INTERNAL = ("fnmesh.internal.gateway.v1.MembershipService",)


class Keys:
    async def verify(self, secret: str) -> Principal:
        if secret == "fnm_broken":
            raise RuntimeError("no registry")
        if secret != "fnm_good":
            raise Unauthenticated("KEY_INVALID", "The API key is unknown.")
        return Principal(frozenset({Scope.DEPLOY}), workspace="ws-a", key_id="k1")


class Deploy(deploy_service_pb2_grpc.DeployServiceServicer):
    def __init__(self) -> None:
        self.calls = 0
        self.seen: dict[str, Any] = {}

    async def GetDeployment(self, request: Any, context: Any) -> deployment_pb2.Deployment:
        self.calls += 1
        match request.name:
            case "missing":
                raise NotFound("FUNCTION_NOT_FOUND", "There is none.", function="x")
            case "wrong":
                raise InvalidArgument("BAD", "No.", fields={"name": "is wrong"}, retry_after_s=1.5)
            case "broken":
                raise ValueError("the secret text of an exception")
            case "slow":
                await asyncio.Event().wait()
            case "flaky" if self.calls < 3:
                raise Unavailable("LATER", "Not now.", retry_after_s=0.01)
            case "admin":
                require_scope(Scope.ADMIN)
            case "other":
                require_scope(Scope.DEPLOY, "ws-b")
        self.seen = {
            "principal": current_principal(),
            "left": deadline.remaining_s(),
            "trace": telemetry.current_trace_id(),
        }
        return deployment_pb2.Deployment(name=request.name)

    async def WatchDeployment(self, request: Any, context: Any) -> AsyncIterator[deployment_pb2.Deployment]:
        for version in range(3):
            yield deployment_pb2.Deployment(version=version)
        if request.name == "fails":
            raise NotFound("GONE", "It is gone.")
        if request.name == "endless":
            try:
                await asyncio.Event().wait()
            finally:
                self.seen["ended"] = True


class Invoke(invoke_service_pb2_grpc.InvokeServiceServicer):
    async def InvokeStream(
        self, request_iterator: Any, context: Any
    ) -> AsyncIterator[invoke_service_pb2.InvokeStreamResponse]:
        async for request in request_iterator:
            if request.chunk == b"stop":
                raise NotFound("STOPPED", "As told.")
            yield invoke_service_pb2.InvokeStreamResponse(chunk=request.chunk)


class Membership(membership_service_pb2_grpc.MembershipServiceServicer):
    async def Join(self, request_iterator: Any, context: Any) -> AsyncIterator[Any]:
        async for _ in request_iterator:
            yield membership_service_pb2.JoinResponse(applied=True)


@asynccontextmanager
async def running(
    listen: str, mode: Any = "off", deploy: Deploy | None = None, drain_s: float = 1
) -> AsyncIterator[BoundServer]:
    def register(server: grpc.aio.Server) -> None:
        deploy_service_pb2_grpc.add_DeployServiceServicer_to_server(deploy or Deploy(), server)
        invoke_service_pb2_grpc.add_InvokeServiceServicer_to_server(Invoke(), server)
        membership_service_pb2_grpc.add_MembershipServiceServicer_to_server(Membership(), server)

    async with serve(
        listen,
        register,
        public_services=PUBLIC,
        internal_services=INTERNAL,
        auth=Authenticator(mode, TOKEN, Keys()),
        drain_s=drain_s,
    ) as bound:
        yield bound


def get(name: str) -> deploy_service_pb2.GetDeploymentRequest:
    return deploy_service_pb2.GetDeploymentRequest(name=name)


@pytest.fixture
def deploy() -> Deploy:
    return Deploy()


@pytest.fixture
async def channel(deploy: Deploy) -> AsyncIterator[grpc.aio.Channel]:
    async with running("127.0.0.1:0", deploy=deploy) as bound, open_channel(bound.address) as channel:
        yield channel


async def test_errors_keep_all_their_details(channel: grpc.aio.Channel) -> None:
    stub = deploy_service_pb2_grpc.DeployServiceStub(channel)
    with pytest.raises(NotFound) as missing:
        await stub.GetDeployment(get("missing"))
    assert (missing.value.reason, missing.value.message) == ("FUNCTION_NOT_FOUND", "There is none.")
    assert missing.value.metadata == {"function": "x"}
    with pytest.raises(InvalidArgument) as wrong:
        await stub.GetDeployment(get("wrong"))
    assert wrong.value.fields == {"name": "is wrong"}
    assert wrong.value.retry_after_s == 1.5


async def test_an_unknown_exception_does_not_leak_its_text(channel: grpc.aio.Channel) -> None:
    with pytest.raises(Internal) as raised:
        await deploy_service_pb2_grpc.DeployServiceStub(channel).GetDeployment(get("broken"))
    assert "secret text" not in raised.value.message
    assert len(raised.value.metadata["log_id"]) == 12


async def test_streams_raise_the_same_errors(channel: grpc.aio.Channel) -> None:
    stub = deploy_service_pb2_grpc.DeployServiceStub(channel)
    got = []
    with pytest.raises(NotFound) as raised:
        async for one in stub.WatchDeployment(deploy_service_pb2.WatchDeploymentRequest(name="fails")):
            got.append(one.version)
    assert got == [0, 1, 2]
    assert raised.value.reason == "GONE"


async def test_both_ways_streams(channel: grpc.aio.Channel) -> None:
    call = invoke_service_pb2_grpc.InvokeServiceStub(channel).InvokeStream()
    await call.write(invoke_service_pb2.InvokeStreamRequest(chunk=b"a"))
    assert (await call.read()).chunk == b"a"
    await call.write(invoke_service_pb2.InvokeStreamRequest(chunk=b"stop"))
    with pytest.raises(NotFound, match="As told"):
        await call.read()


async def test_the_default_deadline_and_the_inbound_one(channel: grpc.aio.Channel, deploy: Deploy) -> None:
    stub = deploy_service_pb2_grpc.DeployServiceStub(channel)
    await stub.GetDeployment(get("x"))
    assert 5 < deploy.seen["left"] <= 11
    deadline.set_remaining(2)
    await stub.GetDeployment(get("x"), timeout=30)
    assert deploy.seen["left"] <= 3
    with deadline.detached():
        await stub.GetDeployment(get("x"), timeout=30)
    assert deploy.seen["left"] > 20
    with pytest.raises(DeadlineExceeded):
        await stub.GetDeployment(get("slow"), timeout=0.1)


async def test_idempotent_calls_are_tried_again(channel: grpc.aio.Channel, deploy: Deploy) -> None:
    await deploy_service_pb2_grpc.DeployServiceStub(channel).GetDeployment(get("flaky"))
    assert deploy.calls == 3


async def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    async with open_channel(f"unix:{tmp_path}/none.sock") as channel:
        with pytest.raises(Unavailable):
            await deploy_service_pb2_grpc.DeployServiceStub(channel).GetDeployment(get("x"), timeout=0.5)


async def test_trace_context_is_carried(channel: grpc.aio.Channel, deploy: Deploy) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    with telemetry.within(f"00-{trace}-b7ad6b7169203331-01"):
        await deploy_service_pb2_grpc.DeployServiceStub(channel).GetDeployment(get("x"))
    assert deploy.seen["trace"] == trace


async def test_keys_and_scopes(deploy: Deploy) -> None:
    async with running("127.0.0.1:0", "keys", deploy) as bound, open_channel(bound.address) as channel:
        stub = deploy_service_pb2_grpc.DeployServiceStub(channel)
        good = (("authorization", "Bearer fnm_good"),)
        await stub.GetDeployment(get("x"), metadata=good)
        assert deploy.seen["principal"].key_id == "k1"
        for reason, metadata in {
            "KEY_MISSING": (),
            "KEY_INVALID": (("authorization", "Bearer fnm_bad"),),
            "TOKEN_INVALID": (("x-fnmesh-service-token", "no"),),
        }.items():
            with pytest.raises(Unauthenticated) as refused:
                await stub.GetDeployment(get("x"), metadata=metadata)
            assert refused.value.reason == reason
        with pytest.raises(Unavailable):
            await stub.GetDeployment(get("x"), metadata=(("authorization", "Bearer fnm_broken"),), timeout=1)
        for name, reason in {"admin": "SCOPE_MISSING", "other": "WORKSPACE_DENIED"}.items():
            with pytest.raises(PermissionDenied) as denied:
                await stub.GetDeployment(get(name), metadata=good)
            assert denied.value.reason == reason


async def test_internal_services_need_the_token_even_without_authentication() -> None:
    async with running("127.0.0.1:0") as bound:
        for token in (None, TOKEN):
            async with open_channel(bound.address, token=token) as channel:
                call = membership_service_pb2_grpc.MembershipServiceStub(channel).Join()
                try:
                    await call.write(membership_service_pb2.JoinRequest(service="invoke"))
                    applied = (await call.read()).applied
                except MeshError as error:
                    applied = error.reason
                assert applied == (True if token else "TOKEN_MISSING")


async def test_health_and_reflection_show_public_services_only() -> None:
    async with running("127.0.0.1:0", "keys") as bound, open_channel(bound.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", *PUBLIC):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        listed = [one.name async for answer in call for one in answer.list_services_response.service]
        assert set(PUBLIC) <= set(listed)
        assert not [name for name in listed if "internal" in name]


async def test_a_unix_socket_is_private_and_drain_ends_watches(tmp_run_dir: Path) -> None:
    path = tmp_run_dir / "m" / "x.sock"
    deploy = Deploy()
    loop = asyncio.get_running_loop()
    async with open_channel(f"unix:{path}") as channel:
        async with running(f"unix:{path}", deploy=deploy, drain_s=30):
            assert path.stat().st_mode & 0o777 == 0o600
            stub = deploy_service_pb2_grpc.DeployServiceStub(channel)
            stream = aiter(stub.WatchDeployment(deploy_service_pb2.WatchDeploymentRequest(name="endless")))
            for _ in range(3):
                await anext(stream)
            began = loop.time()
        assert loop.time() - began < 10
        with pytest.raises(Unavailable) as ended:
            await anext(stream)
        assert ended.value.reason == "STOPPING"
        assert deploy.seen["ended"]


async def test_a_client_that_goes_away_ends_the_handler(channel: grpc.aio.Channel, deploy: Deploy) -> None:
    stub = deploy_service_pb2_grpc.DeployServiceStub(channel)
    call = stub.WatchDeployment(deploy_service_pb2.WatchDeploymentRequest(name="endless"))
    got = [await anext(aiter(call)) for _ in range(3)]
    assert [one.version for one in got] == [0, 1, 2]
    call.cancel()
    await eventually(lambda: deploy.seen.get("ended"))
