"""Joining the mesh, and leaving it in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fnmesh.internal.gateway.v1 import membership_service_pb2 as pb
from fnmesh.internal.gateway.v1 import membership_service_pb2_grpc as pb_grpc
from mesh.auth import Authenticator, ServiceToken
from mesh.membership import joined
from mesh.rpc_server import serve
from tests.support.eventually import eventually

TOKEN = ServiceToken("t" * 32)


class Gateway(pb_grpc.MembershipServiceServicer):
    """`lets_go` says whether it answers those who leave."""

    def __init__(self, *, lets_go: bool = True) -> None:
        self.seen: list[tuple[str, bool]] = []
        self._lets_go = lets_go

    async def Join(self, request_iterator: Any, context: Any) -> AsyncIterator[pb.JoinResponse]:
        async for request in request_iterator:
            self.seen.append((request.address, request.draining))
            if self._lets_go or not request.draining:
                yield pb.JoinResponse(applied=True)


@asynccontextmanager
async def gateway(listen: str, servicer: Gateway) -> AsyncIterator[None]:
    async with serve(
        listen,
        lambda server: pb_grpc.add_MembershipServiceServicer_to_server(servicer, server),
        public_services=(),
        internal_services=("fnmesh.internal.gateway.v1.MembershipService",),
        auth=Authenticator("off", TOKEN),
        drain_s=0.5,
    ):
        yield


async def test_a_member_joins_again_and_leaves_in_order(tmp_run_dir: Path) -> None:
    listen = f"unix:{tmp_run_dir}/gateway.sock"
    first, second = Gateway(), Gateway()
    async with joined(listen, "invoke", "unix:/x", token=TOKEN) as membership:
        assert not membership.applied.is_set()
        async with gateway(listen, first):
            await eventually(membership.applied.is_set)
        await eventually(lambda: not membership.applied.is_set())
        assert first.seen == [("unix:/x", False)]
        stack = gateway(listen, second)
        await stack.__aenter__()
        await eventually(membership.applied.is_set)
    assert second.seen == [("unix:/x", False), ("unix:/x", True)]
    await stack.__aexit__(None, None, None)


async def test_a_gateway_that_is_not_there_delays_nothing(tmp_run_dir: Path) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with joined(f"unix:{tmp_run_dir}/none.sock", "invoke", "unix:/x", token=TOKEN):
        pass
    assert loop.time() - began < 2


async def test_a_member_joins_every_gateway_and_leaves_all_of_them(tmp_run_dir: Path) -> None:
    listens = [f"unix:{tmp_run_dir}/{name}.sock" for name in ("one", "two")]
    first, second = Gateway(), Gateway()
    everywhere = joined(",".join(listens), "invoke", "unix:/x", token=TOKEN)
    async with gateway(listens[0], first), gateway(listens[1], second), everywhere as membership:
        await eventually(lambda: membership.gateways == 2)
    assert first.seen == second.seen == [("unix:/x", False), ("unix:/x", True)]


async def test_a_gateway_that_is_killed_takes_no_other_membership_along(tmp_run_dir: Path) -> None:
    listens = [f"unix:{tmp_run_dir}/{name}.sock" for name in ("one", "two")]
    first, second = Gateway(), Gateway()
    async with gateway(listens[0], first), joined(",".join(listens), "invoke", "unix:/x", token=TOKEN) as membership:
        async with gateway(listens[1], second):
            await eventually(lambda: membership.gateways == 2)
        await eventually(lambda: membership.gateways == 1)
        assert first.seen == [("unix:/x", False)]


async def test_who_leaves_does_not_join_the_gateway_that_starts_meanwhile(tmp_run_dir: Path) -> None:
    listens = [f"unix:{tmp_run_dir}/{name}.sock" for name in ("one", "two")]
    stays, stops, restarted = Gateway(lets_go=False), Gateway(lets_go=False), Gateway()
    async with joined(",".join(listens), "invoke", "unix:/x", token=TOKEN) as membership:
        async with gateway(listens[0], stays):
            async with gateway(listens[1], stops):
                await eventually(lambda: membership.gateways == 2)
                leaving = asyncio.create_task(membership.leave(timeout_s=60))
                await eventually(lambda: stops.seen[1:] == [("unix:/x", True)])
            async with gateway(listens[1], restarted):
                await eventually(lambda: membership.gateways == 1)
                for _ in range(10):
                    assert restarted.seen == []
                    await asyncio.sleep(0.1)
                assert not leaving.done()  # the first one has not answered
        await leaving  # both have ended their streams: nobody is left to wait for
