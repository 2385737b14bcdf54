"""Wires deploy_svc: the only place that constructs collaborators."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy_svc.domain import Policy, Target
from deploy_svc.ending import Ending
from deploy_svc.endpoint_service import EndpointServicer
from deploy_svc.fleet import Fleet
from deploy_svc.function_watch import FunctionWatch
from deploy_svc.health import Health
from deploy_svc.housekeeping import Housekeeping
from deploy_svc.log_collector import LogCollector
from deploy_svc.log_store import LogBounds, LogStore
from deploy_svc.ports import Driver
from deploy_svc.prober import HttpProber
from deploy_svc.process.driver import ProcessDriver, ProcessPlaces
from deploy_svc.process.toolchain import Toolchains
from deploy_svc.process.users import Users
from deploy_svc.process.working_copies import WorkingCopies
from deploy_svc.reconciler import Reconciler
from deploy_svc.registry_client import RegistryClient
from deploy_svc.reporting import Reporting
from deploy_svc.service import DeployServicer
from deploy_svc.settings import DeploySettings
from deploy_svc.starting import Starting, Surroundings
from deploy_svc.store import Store
from deploy_svc.wakes import Wakes, WorkQueue
from deploy_svc.watchers import Watchers
from fnmesh.deploy.v1 import deploy_service_pb2 as deploy_pb
from fnmesh.deploy.v1 import deploy_service_pb2_grpc as deploy_grpc
from fnmesh.internal.deploy.v1 import endpoint_service_pb2 as endpoint_pb
from fnmesh.internal.deploy.v1 import endpoint_service_pb2_grpc as endpoint_grpc
from mesh.auth import Authenticator
from mesh.blobs import open_blobs
from mesh.clock import Clock, SystemClock
from mesh.db import Database
from mesh.keys import CachedKeyVerifier, RemoteKeyVerifier
from mesh.membership import joined
from mesh.rpc_client import open_channel
from mesh.rpc_server import BoundServer, serve

MIGRATIONS = Path(__file__).parent / "migrations"
_PUBLIC = (deploy_pb.DESCRIPTOR.services_by_name["DeployService"].full_name,)
_INTERNAL = (endpoint_pb.DESCRIPTOR.services_by_name["EndpointService"].full_name,)
_THREADS = 8


@dataclass(frozen=True)
class DeployApp:
    """A running deploy_svc."""

    server: BoundServer
    store: Store
    drivers: Mapping[Target, Driver]


def open_database(settings: DeploySettings) -> Database:
    """The tables of this service."""
    return Database(settings.database_url, schema=settings.service)


async def migrate(settings: DeploySettings) -> None:
    """Bring the tables up to date."""
    database = open_database(settings)
    try:
        await database.migrate(MIGRATIONS)
    finally:
        await database.close()


def process_driver(
    settings: DeploySettings, executor: ThreadPoolExecutor, changed: asyncio.Event
) -> ProcessDriver:
    """The driver of the process target."""
    data = settings.data_dir.absolute()
    blobs = open_blobs(settings.blob_url)
    return ProcessDriver(
        ProcessPlaces(settings.run_dir.absolute() / "i", data / "instances", data / "logs"),
        WorkingCopies(settings.workloads_dir.absolute(), blobs.open_stream, executor),
        Toolchains(data / "toolchain", python=settings.workload_python, node=settings.workload_node),
        Users(settings.read_mesh_id(), first=settings.deploy_uid_first, count=settings.deploy_uid_count),
        executor,
        changed.set,
    )


def policy_of(settings: DeploySettings) -> Policy:
    """The times of the state machine."""
    return Policy(
        start_limit_s=settings.deploy_start_limit_s,
        drain_extra_s=settings.deploy_drain_extra_s,
        healthy_reset_s=settings.deploy_healthy_reset_s,
        backoff_cap_s=settings.deploy_backoff_cap_s,
    )


@asynccontextmanager
async def app(settings: DeploySettings) -> AsyncIterator[DeployApp]:
    """Runs the service for as long as the context lasts. Instances go on when it ends."""
    clock: Clock = SystemClock()
    async with AsyncExitStack() as stack:
        database = open_database(settings)
        stack.push_async_callback(database.close)
        await database.migrate(MIGRATIONS)
        store, log_store = Store(database), LogStore(database)

        token = settings.read_token()
        channel = await stack.enter_async_context(open_channel(settings.registry_address, token=token))
        registry = RegistryClient(channel)
        verifier = CachedKeyVerifier(RemoteKeyVerifier(channel)) if settings.auth == "keys" else None
        authenticator = Authenticator(settings.auth, token, verifier)

        executor = ThreadPoolExecutor(_THREADS, "deploy-driver")
        stack.callback(executor.shutdown, cancel_futures=True)
        changed = asyncio.Event()
        processes = process_driver(settings, executor, changed)
        await processes.adopt()
        drivers: dict[Target, Driver] = {Target.PROCESS: processes}

        parts = Parts.make(settings, clock, store, log_store, registry, drivers, changed)
        tasks = await stack.enter_async_context(_Background())
        for loop in parts.loops():
            tasks.start(loop)

        deploy = DeployServicer(
            store,
            log_store,
            registry,
            drivers,
            parts.changes,
            parts.lines,
            clock,
            stream_age_s=settings.deploy_stream_age_s,
        )
        endpoints = EndpointServicer(
            store,
            parts.watchers,
            parts.changes,
            parts.queue.add,
            stream_age_s=settings.deploy_stream_age_s,
        )

        def register(server: object) -> None:
            deploy_grpc.add_DeployServiceServicer_to_server(deploy, server)  # type: ignore[arg-type]
            endpoint_grpc.add_EndpointServiceServicer_to_server(endpoints, server)  # type: ignore[arg-type]

        server = await stack.enter_async_context(
            serve(
                settings.own_address,
                register,
                public_services=_PUBLIC,
                internal_services=_INTERNAL,
                auth=authenticator,
                long_methods=frozenset({"ReadLogs"}),
            )
        )
        await stack.enter_async_context(
            joined(settings.gateway_address, "deploy", server.address, token=token)
        )
        yield DeployApp(server, store, drivers)
