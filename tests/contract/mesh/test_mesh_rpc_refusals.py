"""A server that refuses a stream in the middle of it is heard, whoever of its clients was still sending."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from fnmesh.build.v1 import build_service_pb2 as pb
from fnmesh.build.v1 import build_service_pb2_grpc as pb_grpc
from fnmesh.client.address import parse_server
from fnmesh.client.connection import Connection
from fnmesh.client.errors import ResourceExhausted as ToldToClients
from mesh.auth import Authenticator, ServiceToken
from mesh.errors import ResourceExhausted
from mesh.rpc_client import open_channel
from mesh.rpc_server import serve

TRIES = 100  # without what is tested, some of a hundred are told INTERNAL
PIECE = bytes(256 * 1024)
LIMIT = 4 * len(PIECE)


class Builds(pb_grpc.BuildServiceServicer):
    async def UploadSource(self, request_iterator: Any, context: Any) -> pb.UploadSourceResponse:
        received = 0
        async for request in request_iterator:
            received += len(request.chunk)
            if received > LIMIT:
                raise ResourceExhausted("SOURCE_TOO_LARGE", "The source is too large.", limit=str(LIMIT))
        return pb.UploadSourceResponse(size_bytes=received)


@asynccontextmanager
async def running(listen: str) -> AsyncIterator[str]:
    def register(server: grpc.aio.Server) -> None:
        pb_grpc.add_BuildServiceServicer_to_server(Builds(), server)  # type: ignore[abstract]

    auth = Authenticator("off", ServiceToken("t" * 32))
    async with serve(listen, register, public_services=["fnmesh.build.v1.BuildService"], auth=auth, drain_s=0) as bound:
        yield bound.address


async def pieces(count: int) -> AsyncIterator[pb.UploadSourceRequest]:
    for _ in range(count):
        yield pb.UploadSourceRequest(chunk=PIECE)


async def test_between_services(tmp_run_dir: Path) -> None:
    async with running(f"unix:{tmp_run_dir}/s") as address, open_channel(address) as channel:
        stub: Any = pb_grpc.BuildServiceStub(channel)
        for _ in range(TRIES):
            with pytest.raises(ResourceExhausted, match="too large") as raised:
                await stub.UploadSource(pieces(12))
            assert (raised.value.reason, raised.value.metadata) == ("SOURCE_TOO_LARGE", {"limit": str(LIMIT)})
        assert (await stub.UploadSource(pieces(4))).size_bytes == LIMIT


async def test_by_the_client() -> None:
    async with running("127.0.0.1:0") as address:
        connection = Connection(parse_server(address), None, 30)
        try:
            stub: Any = pb_grpc.BuildServiceStub(connection.channel)
            for _ in range(TRIES):
                with pytest.raises(ToldToClients, match="too large") as raised:
                    await connection.call(stub.UploadSource, pieces(12))
                assert (raised.value.reason, raised.value.metadata) == ("SOURCE_TOO_LARGE", {"limit": str(LIMIT)})
            assert (await connection.call(stub.UploadSource, pieces(4))).size_bytes == LIMIT
        finally:
            await connection.close()
