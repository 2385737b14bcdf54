"""The services as one REST call sees them: with its caller's key and its trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import grpc.aio
from fastapi import Depends, Request

from fnmesh.build.v1 import build_service_pb2_grpc as build_grpc
from fnmesh.deploy.v1 import deploy_service_pb2_grpc as deploy_grpc
from fnmesh.deploy.v1 import usage_service_pb2_grpc as usage_grpc
from fnmesh.invoke.v1 import invoke_service_pb2_grpc as invoke_grpc
from fnmesh.invoke.v1 import job_service_pb2_grpc as job_grpc
from fnmesh.invoke.v1 import stats_service_pb2_grpc as stats_grpc
from fnmesh.registry.v1 import registry_service_pb2_grpc as registry_grpc
from gateway.rest.codes import CodeCache
from mesh.errors import Unauthenticated

CALL_S = 30.0
"""Longest time that a call of a service may take, where a route says nothing else. Streams too: none is endless."""

_KEY_CHARACTERS = 4096
Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Channels:
    """Where the services are; opened without the mesh's own token: a REST call may do what its caller may."""

    registry: grpc.aio.Channel
    build: grpc.aio.Channel
    deploy: grpc.aio.Channel
    invoke: grpc.aio.Channel


class _Stub:
    """A stub whose every call carries the same metadata."""

    def __init__(self, stub: Any, metadata: Metadata) -> None:
        self._stub = stub
        self._metadata = metadata

    def __getattr__(self, method: str) -> Callable[..., Any]:
        call = getattr(self._stub, method)

        def begin(request: Any, **options: Any) -> Any:
            return call(request, metadata=self._metadata, **{"timeout": CALL_S, **options})

        return begin


class Caller:
    """The public services, called for one HTTP request. All calls raise MeshError."""

    def __init__(self, channels: Channels, authorization: str, codes: CodeCache) -> None:
        self.codes = codes
        metadata: Metadata = (("authorization", authorization),) if authorization else ()
        self.registry = _Stub(registry_grpc.RegistryServiceStub(channels.registry), metadata)
        self.build = _Stub(build_grpc.BuildServiceStub(channels.build), metadata)
        self.deploy = _Stub(deploy_grpc.DeployServiceStub(channels.deploy), metadata)
        self.usage = _Stub(usage_grpc.UsageServiceStub(channels.deploy), metadata)
        self.invoke = _Stub(invoke_grpc.InvokeServiceStub(channels.invoke), metadata)
        self.jobs = _Stub(job_grpc.JobServiceStub(channels.invoke), metadata)
        self.stats = _Stub(stats_grpc.StatsServiceStub(channels.invoke), metadata)


def _caller(request: Request) -> Caller:
    state, authorization = request.app.state, request.headers.get("authorization", "")
    if len(authorization) > _KEY_CHARACTERS or not (authorization.isascii() and authorization.isprintable()):
        raise Unauthenticated("KEY_INVALID", "The API key is unknown, revoked or expired.")  # and no metadata of gRPC
    return Caller(state.channels, authorization, state.codes)


Mesh = Annotated[Caller, Depends(_caller)]
"""What a route asks for to call the services."""
