"""A scripted mesh in a thread of its own, for the synchronous face of the client."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import grpc.aio
import pytest

from fnmesh.build.v1 import build_service_pb2_grpc
from fnmesh.client.loop_thread import LoopThread
from fnmesh.deploy.v1 import deploy_service_pb2_grpc
from fnmesh.registry.v1 import registry_service_pb2_grpc


@pytest.fixture
def sync_address(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where a mesh scripted like `scripted` answers a caller without a loop."""
    script = request.module.ScriptedMesh()
    loop = LoopThread()

    async def start() -> tuple[grpc.aio.Server, int]:
        server = grpc.aio.server()
        registry_service_pb2_grpc.add_RegistryServiceServicer_to_server(script.registry, server)
        build_service_pb2_grpc.add_BuildServiceServicer_to_server(script.builds, server)
        deploy_service_pb2_grpc.add_DeployServiceServicer_to_server(script.deploys, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return server, port

    server, port = loop.run(start())
    try:
        yield f"127.0.0.1:{port}"
    finally:
        loop.run(server.stop(0))
        loop.close()
