"""Wires deploy_svc: the only place that constructs collaborators."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from deploy_svc.activity import Activity
from deploy_svc.clusters import Around, ClusterHealth, NoClusters, open_clusters
from deploy_svc.containers.daemon import Daemon
from deploy_svc.containers.driver import DockerDriver
from deploy_svc.domain import Policy, Target
from deploy_svc.ending import Ending
from deploy_svc.endpoint_service import EndpointServicer
from deploy_svc.fleet import Fleet
from deploy_svc.function_watch import FunctionWatch
from deploy_svc.health import Health
from deploy_svc.housekeeping import Housekeeping
from deploy_svc.log_collector import LogCollector
from deploy_svc.log_store import LogBounds, LogStore
from deploy_svc.loki import open_loki
from deploy_svc.not_offered import NotOffered
from deploy_svc.ports import Adopting, Driver, Written
from deploy_svc.prober import HttpProber
from deploy_svc.process.driver import ProcessDriver, ProcessPlaces
from deploy_svc.process.toolchain import Toolchains
from deploy_svc.process.users import Users
from deploy_svc.process.working_copies import WorkingCopies
from deploy_svc.reconciler import Reconciler
from deploy_svc.registry_client import RegistryClient
from deploy_svc.reporting import Reporting
from deploy_svc.scripts.service import SERVICE_NAME as SCRIPT_SERVICE
from deploy_svc.scripts.wiring import open_scripts
from deploy_svc.service import DeployServicer
from deploy_svc.settings import DeploySettings
from deploy_svc.spin.compiled import CompiledComponents
from deploy_svc.spin.driver import SpinDriver
from deploy_svc.starting import Starting, Surroundings
from deploy_svc.store import Store
from deploy_svc.usage.service import SERVICE_NAME as USAGE_SERVICE
from deploy_svc.usage.wiring import open_usage
from deploy_svc.wakes import Wakes, WorkQueue
from deploy_svc.watchers import Watchers
from fnmesh.deploy.v1 import deploy_service_pb2 as deploy_pb
from fnmesh.deploy.v1 import deploy_service_pb2_grpc as deploy_grpc
from fnmesh.deploy.v1 import usage_service_pb2_grpc as usage_grpc
from fnmesh.internal.deploy.v1 import endpoint_service_pb2 as endpoint_pb
from fnmesh.internal.deploy.v1 import endpoint_service_pb2_grpc as endpoint_grpc
from fnmesh.internal.deploy.v1 import script_service_pb2_grpc as script_grpc
from mesh.auth import Authenticator
from mesh.blobs import open_blobs
from mesh.clock import Clock, SystemClock
from mesh.db import Database
from mesh.fanout import Fanout
from mesh.keys import CachedKeyVerifier, RemoteKeyVerifier
from mesh.leadership import Leadership
from mesh.membership import joined
from mesh.rpc_client import open_channel
from mesh.rpc_server import BoundServer, serve

MIGRATIONS = Path(__file__).parent / "migrations"
_PUBLIC = (deploy_pb.DESCRIPTOR.services_by_name["DeployService"].full_name, USAGE_SERVICE)
_INTERNAL = (endpoint_pb.DESCRIPTOR.services_by_name["EndpointService"].full_name, SCRIPT_SERVICE)
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


def process_driver(settings: DeploySettings, executor: ThreadPoolExecutor, changed: asyncio.Event) -> ProcessDriver:
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
        scratch_bytes=settings.deploy_scratch_bytes,
    )


def spin_driver(settings: DeploySettings, executor: ThreadPoolExecutor, changed: asyncio.Event) -> SpinDriver:
    """The driver of the spin target. Its users are others, so that neither driver ends what the other one runs."""
    data = settings.data_dir.absolute()
    spin = data / "spin"
    users = Users(
        settings.read_mesh_id(), first=settings.deploy_uid_first, count=settings.deploy_uid_count, other_half=True
    )
    return SpinDriver(
        ProcessPlaces(settings.run_dir.absolute() / "w", spin / "instances", spin / "logs"),
        WorkingCopies(spin / "artifacts", open_blobs(settings.blob_url).open_stream, executor),
        CompiledComponents(spin / "compiled", executor),
        users,
        executor,
        changed.set,
        state=spin / "key-value",
        toolchain=data / "toolchain",
        key_of=lambda instance: settings.read_token().instance_key(instance),
        host=settings.workload_spin_host,
        scratch_bytes=settings.deploy_scratch_bytes,
    )


@asynccontextmanager
async def open_drivers(
    settings: DeploySettings, changed: asyncio.Event, *, adopted: bool = True
) -> AsyncIterator[dict[Target, Driver]]:
    """The drivers there are, with what their predecessors left (`adopt` does it later, where this process does not
    lead yet). `changed` is set when an instance has ended.
    """
    executor = ThreadPoolExecutor(_THREADS, "deploy-process")
    daemon = Daemon(settings.deploy_docker_host)
    try:
        processes = process_driver(settings, executor, changed)
        containers = DockerDriver(daemon, settings.read_mesh_id(), changed.set)
        components = spin_driver(settings, executor, changed)
        if adopted:
            await adopt((processes, components))
        drivers: dict[Target, Driver] = {
            Target.PROCESS: processes,
            Target.DOCKER: containers,
            Target.SPIN: components,
        }
        offered = settings.local_targets
        yield {target: driver if target in offered else NotOffered(driver) for target, driver in drivers.items()}
    finally:
        daemon.close()
        executor.shutdown(cancel_futures=True)


async def adopt(drivers: Iterable[object]) -> None:
    """Has drivers take over what their predecessors left, where that has to be done at once."""
    for driver in drivers:
        if isinstance(driver, Adopting):
            await driver.adopt()


@dataclass(frozen=True)
class Parts:
    """What the loops and the servicers share."""

    queue: WorkQueue
    watchers: Watchers
    activity: Activity
    changes: Wakes
    lines: Wakes
    look_at_draining: Callable[[], None]
    loops: Sequence[Coroutine[Any, Any, None]]
    clusters: ClusterHealth


def make_parts(
    settings: DeploySettings,
    clock: Clock,
    database: Database,
    store: Store,
    log_store: LogStore,
    registry: RegistryClient,
    drivers: Mapping[Target, Driver],
    observed: asyncio.Event,
) -> Parts:
    """All that works by itself."""
    policy = policy_of(settings)
    queue, changes, lines, reports = WorkQueue(), Wakes(), Wakes(), Wakes()
    watchers, activity = Watchers(clock, settings.deploy_watcher_grace_s), Activity(clock)
    prober = HttpProber()
    loki = open_loki(settings.loki_url)
    written: dict[Target, Written] = dict(drivers)
    collector = LogCollector(log_store, written, lines, clock, loki.add if loki else None)
    ending = Ending(
        store,
        drivers,
        collector,
        watchers,
        changes,
        clock,
        queue.add,
        reports.notify,
        grace_s=settings.deploy_stop_grace_s,
    )
    fleet = Fleet(
        store,
        drivers,
        ending,
        collector,
        changes,
        clock,
        queue.add,
        observed,
        interval_s=settings.deploy_observe_interval_s,
    )
    starting = Starting(
        Surroundings(store, registry, drivers, prober, fleet, ending, collector, changes, clock, policy, queue.add)
    )
    around = Around(store, registry, activity, changes, reports, clock, queue.add)
    clusters = open_clusters(settings, database, around, collector)
    elsewhere = None
    if not isinstance(clusters, NoClusters):
        written[Target.KUBERNETES], elsewhere = clusters.target, clusters.apps
    reconciler = Reconciler(
        store, queue, starting, ending, watchers, activity, changes, reports, clock, policy, elsewhere
    )
    health = Health(
        store,
        prober,
        clock,
        queue.add,
        interval_s=settings.deploy_health_interval_s,
        silent_s=settings.deploy_health_silent_s,
    )
    housekeeping = Housekeeping(
        store,
        log_store,
        collector,
        drivers,
        clock,
        bounds=LogBounds(settings.deploy_log_lines, settings.deploy_log_bytes),
        log_days=settings.deploy_log_days,
        interval_s=settings.deploy_housekeeping_interval_s,
    )
    loops = [
        *(driver.run() for driver in drivers.values()),
        collector.run(),
        reconciler.run(),
        fleet.run(),
        health.run(),
        housekeeping.run(),
        Reporting(store, registry, drivers, reports, changes).run(),
        FunctionWatch(registry, store, clock, queue.add).run(),
    ]
    if loki is not None:
        loops.append(loki.run())
    if not isinstance(clusters, NoClusters):
        loops.append(clusters.run())
        return Parts(queue, watchers, activity, changes, lines, reconciler.look_at_draining, loops, clusters.target)
    return Parts(queue, watchers, activity, changes, lines, reconciler.look_at_draining, loops, clusters)


async def _all(loops: Sequence[Coroutine[Any, Any, None]]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for loop in loops:
            tasks.create_task(loop)


@asynccontextmanager
async def _shared(fanout: Fanout, topics: Mapping[str, Wakes]) -> AsyncIterator[None]:
    """Has other processes woken with this one, and this one with them, for as long as the context lasts."""
    for topic, wakes in topics.items():
        wakes.tell = partial(fanout.tell, topic)
        fanout.on(topic, partial(_wake, wakes))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(fanout.run())
        try:
            yield
        finally:
            running.cancel()


def _wake(wakes: Wakes, about: str) -> None:
    wakes.wake()


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
    """Runs the service for as long as the context lasts. Instances go on when it ends.

    Of several processes one leads: it alone starts and stops things, and listens to watchers. All answer what is asked.
    """
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

        changed = asyncio.Event()
        drivers = await stack.enter_async_context(open_drivers(settings, changed, adopted=False))
        leadership = Leadership(database, settings.service)

        parts = make_parts(settings, clock, database, store, log_store, registry, drivers, changed)
        stack.push_async_callback(parts.clusters.close)
        stack.callback(lambda: [loop.close() for loop in parts.loops])  # those that never ran
        scripts = await stack.enter_async_context(open_scripts(settings, leadership.require))

        async def begin() -> None:
            await adopt(drivers.values())
            await scripts.sweep()
            parts.watchers.expected(several=not database.is_sqlite)

        fanout = Fanout(database, others=settings.has_replicas)
        await stack.enter_async_context(_shared(fanout, {"changes": parts.changes, "lines": parts.lines}))
        await stack.enter_async_context(leadership.running(begin, lambda: _all(parts.loops)))

        deploy = DeployServicer(
            store,
            log_store,
            registry,
            drivers,
            parts.clusters,
            settings,
            parts.changes,
            parts.lines,
            clock,
            parts.queue.add,
            stream_age_s=settings.deploy_stream_age_s,
        )
        endpoints = EndpointServicer(
            store,
            parts.watchers,
            parts.activity,
            parts.changes,
            parts.queue.add,
            parts.look_at_draining,
            leadership.require,
            stream_age_s=settings.deploy_stream_age_s,
        )

        usage = await stack.enter_async_context(
            open_usage(settings, database, store, registry, clock, lambda: leadership.leads, parts.clusters.meters)
        )

        def register(server: object) -> None:
            script_grpc.add_ScriptServiceServicer_to_server(scripts, server)  # type: ignore[arg-type]
            deploy_grpc.add_DeployServiceServicer_to_server(deploy, server)  # type: ignore[arg-type]
            usage_grpc.add_UsageServiceServicer_to_server(usage, server)  # type: ignore[arg-type]
            endpoint_grpc.add_EndpointServiceServicer_to_server(endpoints, server)  # type: ignore[arg-type]

        server = await stack.enter_async_context(
            serve(
                settings.own_address,
                register,
                public_services=_PUBLIC,
                internal_services=_INTERNAL,
                auth=authenticator,
                long_methods=frozenset({"ReadLogs", "RunScript"}),
            )
        )
        await stack.enter_async_context(
            joined(settings.gateway_address, "deploy", settings.advertised(server.address), token=token)
        )
        yield DeployApp(server, store, drivers)
