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
from fnmesh.internal.deploy.v1 import script_service_pb2_grpc as script_grpc
from fnmesh.internal.registry.v1 import registry_internal_service_pb2_grpc as registry_grpc
from fnmesh.invoke.v1 import (
    invoke_service_pb2_grpc,
    job_service_pb2_grpc,
    schedule_service_pb2_grpc,
    stats_service_pb2_grpc,
)
from invoke_svc import service_http
from invoke_svc.admission import Admission, QueueLimits
from invoke_svc.endpoints import Activator, EndpointWatch, Retirer
from invoke_svc.exchange import Dispatcher
from invoke_svc.executions import ExecutionRecorder
from invoke_svc.jobs.schedule_service import SERVICE_NAME as SCHEDULE_SERVICE
from invoke_svc.jobs.service import SERVICE_NAME as JOB_SERVICE
from invoke_svc.jobs.wiring import HOUSEKEEPING_S, Jobs
from invoke_svc.registry_watch import RegistryWatch
from invoke_svc.routes import RouteTable
from invoke_svc.service import DirectLimits, InvokeService
from invoke_svc.service_http import LEAN_METHODS, HttpLane
from invoke_svc.settings import InvokeSettings
from invoke_svc.spool import Spool
from invoke_svc.stats import service as stats_service
from invoke_svc.stats.store import StatsStore
from invoke_svc.store import MIGRATIONS, SqlExecutionStore
from mesh.auth import Authenticator
from mesh.clock import SystemClock
from mesh.db import Database
from mesh.keys import CachedKeyVerifier, RemoteKeyVerifier
from mesh.loops import run_forever
from mesh.membership import joined
from mesh.rpc_client import open_channel
from mesh.rpc_server import serve

PUBLIC_SERVICES = ("fnmesh.invoke.v1.InvokeService", JOB_SERVICE, SCHEDULE_SERVICE, stats_service.SERVICE_NAME)
INTERNAL_SERVICES = (service_http.SERVICE,)
# Envoy takes 96 KiB of headers; percent-encoded they are three times as large. gRPC would refuse some of them between
# the two limits by chance.
_HEAD_OPTIONS = (("grpc.max_metadata_size", 384 * 1024), ("grpc.absolute_max_metadata_size", 384 * 1024))
# Envoy is near: one piece of a body ahead is enough. gRPC's own guesses grow, and keep memory for nothing.
_BODY_OPTIONS = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1024 * 1024))
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
        deploy_channel = await stack.enter_async_context(
            open_channel(
                settings.deploy_address,
                token=token,
                idempotent_methods=frozenset({"ActivateFunction", "RetireInstance"}),
            )
        )
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
        activator, retirer = Activator(deploy, admission), Retirer(deploy)
        dispatcher = Dispatcher(admission, retirer.retire, grace_s=settings.invoke_grace_s, key_of=token.instance_key)
        recorder = ExecutionRecorder(
            store,
            SystemClock(),
            Spool(settings.data_dir.absolute() / "runs"),
            flush_interval_s=settings.invoke_flush_interval_s,
            kept=settings.invoke_executions_kept,
            kept_days=settings.invoke_execution_days,
        )
        verifier = CachedKeyVerifier(RemoteKeyVerifier(registry_channel)) if settings.auth == "keys" else None
        direct = InvokeService(
            routes, watch, registry, dispatcher, recorder, store,
            DirectLimits(
                settings.invoke_max_body_bytes, settings.invoke_max_answer_bytes, settings.invoke_body_bytes_kept
            ),
        )  # fmt: skip

        stats_store = StatsStore(database, SystemClock())
        stats = stats_service.StatsServicer(routes, stats_store)

        scripts = script_grpc.ScriptServiceStub(deploy_channel)
        jobs = Jobs(settings, database, routes, direct, registry, scripts)
        lane = HttpLane(routes, dispatcher, recorder, verifier, settings.invoke_max_body_bytes, jobs.deferring)

        def register(server: grpc.aio.Server) -> None:
            invoke_service_pb2_grpc.add_InvokeServiceServicer_to_server(direct, server)
            job_service_pb2_grpc.add_JobServiceServicer_to_server(jobs.servicer, server)
            schedule_service_pb2_grpc.add_ScheduleServiceServicer_to_server(jobs.schedule_servicer, server)
            stats_service_pb2_grpc.add_StatsServiceServicer_to_server(stats, server)
            lane.register(server)

        pruning = run_forever(stats_store.prune, interval_s=3600.0, name="run_counts")
        await stack.enter_async_context(_running(watch.run(), endpoints.run(), activator.run(), retirer.run(), pruning))
        await stack.enter_async_context(recorder.running())
        clearing = run_forever(jobs.housekeeping.step, interval_s=HOUSEKEEPING_S, name="job housekeeping")
        await stack.enter_async_context(_running(clearing))
        server = await stack.enter_async_context(
            serve(
                settings.own_address,
                register,
                public_services=PUBLIC_SERVICES,
                internal_services=INTERNAL_SERVICES,
                auth=Authenticator(settings.auth, token, verifier),
                lean_methods=LEAN_METHODS,
                drain_s=settings.invoke_drain_s,
                options=(*_HEAD_OPTIONS, *_BODY_OPTIONS),
            )
        )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                await watch.synced.wait()
                await endpoints.synced.wait()
        await stack.enter_async_context(jobs.working())
        await stack.enter_async_context(
            joined(settings.gateway_address, "invoke", settings.advertised(server.address), token=token)
        )
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
