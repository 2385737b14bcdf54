"""Puts invoke_svc together. The only place that constructs collaborators."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc.aio

from fnmesh.internal.deploy.v1 import endpoint_service_pb2_grpc as deploy_grpc
from fnmesh.internal.registry.v1 import registry_internal_service_pb2_grpc as registry_grpc
from fnmesh.invoke.v1 import invoke_service_pb2_grpc
from invoke_svc import service_http
from invoke_svc.admission import Admission, QueueLimits
from invoke_svc.endpoints import EndpointWatch, Retirer
from invoke_svc.exchange import Dispatcher
from invoke_svc.executions import ExecutionRecorder
from invoke_svc.registry_watch import RegistryWatch
from invoke_svc.routes import RouteTable
from invoke_svc.service import DirectLimits, InvokeService
from invoke_svc.service_http import LEAN_METHODS, HttpLane
from invoke_svc.settings import InvokeSettings
from invoke_svc.store import MIGRATIONS, SqlExecutionStore
from mesh.auth import Authenticator
from mesh.clock import SystemClock
from mesh.db import Database
from mesh.keys import CachedKeyVerifier, RemoteKeyVerifier
from mesh.membership import joined
from mesh.rpc_client import open_channel
from mesh.rpc_server import serve

PUBLIC_SERVICES = ("fnmesh.invoke.v1.InvokeService",)
INTERNAL_SERVICES = (service_http.SERVICE,)
_HEAD_OPTIONS = (("grpc.max_metadata_size", 128 * 1024), ("grpc.absolute_max_metadata_size", 256 * 1024))
SETTLE_S = 3.0
"""How long Envoy hears nothing of this process while it does not know functions and instances yet."""


@dataclass(frozen=True)
class Running:
    """A service that is up."""

    address: str
    routes: RouteTable
    admission: Admission


async def migrate(settings: InvokeSettings) -> None:
    """Brings the database up to date."""
    database = Database(settings.database_url, schema=settings.service)
    try:
        await database.migrate(MIGRATIONS)
    finally:
        await database.close()


@asynccontextmanager
async def app(settings: InvokeSettings) -> AsyncIterator[Running]:
    """The service, for as long as the context lasts.

    Its end is orderly: Envoy is told and stops sending, requests under way end, then records are written, and last
    the watches and channels go.
    """
    token = settings.read_token()
    async with AsyncExitStack() as stack:
        database = Database(settings.database_url, schema=settings.service)
        stack.push_async_callback(database.close)
        await database.migrate(MIGRATIONS)
        store = SqlExecutionStore(database)
        registry_channel = await stack.enter_async_context(open_channel(settings.registry_address, token=token))
        deploy_channel = await stack.enter_async_context(open_channel(settings.deploy_address, token=token))
        registry = registry_grpc.RegistryInternalServiceStub(registry_channel)
        deploy = deploy_grpc.EndpointServiceStub(deploy_channel)

        routes = RouteTable()
        admission = Admission(
            QueueLimits(
                per_function=settings.invoke_queue_limit,
                in_all=settings.invoke_queue_limit_in_all,
                cold_start_s=settings.invoke_cold_start_limit_s,
            )
        )
        watch = RegistryWatch(registry, routes, admission.route_changed)
        endpoints = EndpointWatch(deploy, admission)
        retirer = Retirer(deploy)
        dispatcher = Dispatcher(admission, retirer.retire, grace_s=settings.invoke_grace_s)
        recorder = ExecutionRecorder(
            store,
            SystemClock(),
            flush_interval_s=settings.invoke_flush_interval_s,
            kept=settings.invoke_executions_kept,
            kept_days=settings.invoke_execution_days,
        )
        verifier = CachedKeyVerifier(RemoteKeyVerifier(registry_channel)) if settings.auth == "keys" else None
        lane = HttpLane(routes, dispatcher, recorder, verifier, settings.invoke_max_body_bytes)
        direct = InvokeService(
            routes, watch, registry, dispatcher, recorder, store,
            DirectLimits(settings.invoke_max_body_bytes, settings.invoke_max_answer_bytes),
        )  # fmt: skip

        def register(server: grpc.aio.Server) -> None:
            invoke_service_pb2_grpc.add_InvokeServiceServicer_to_server(direct, server)
            lane.register(server)

        await stack.enter_async_context(_running(watch.run(), endpoints.run(), retirer.run()))
        await stack.enter_async_context(recorder.running())
        server = await stack.enter_async_context(
            serve(
                settings.own_address,
                register,
                public_services=PUBLIC_SERVICES,
                internal_services=INTERNAL_SERVICES,
                auth=Authenticator(settings.auth, token, verifier),
                lean_methods=LEAN_METHODS,
                drain_s=settings.invoke_drain_s,
                options=_HEAD_OPTIONS,
            )
        )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                await watch.synced.wait()
                await endpoints.synced.wait()
        await stack.enter_async_context(joined(settings.gateway_address, "invoke", server.address, token=token))
        yield Running(server.address, routes, admission)


@asynccontextmanager
async def _running(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs loops for as long as the context lasts."""
    async with asyncio.TaskGroup() as tasks:
        loops = [tasks.create_task(work) for work in works]
        try:
            yield
        finally:
            for loop in loops:
                loop.cancel()
