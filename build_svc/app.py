"""Wires build_svc: the only place that constructs its parts."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import tempfile
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc.aio

from build_svc.archive_check import ArchiveLimits
from build_svc.cluster_builder import ClusterBuilder
from build_svc.cluster_repository import ClusterRepository
from build_svc.creation import Acceptance, ForClusters
from build_svc.docker_builder import DockerBuilder
from build_svc.docker_daemon import ContainerLimits, DockerDaemon
from build_svc.docker_images import BuiltImages
from build_svc.docker_push import DockerPush
from build_svc.domain import ArtifactKind, Runtime, Target
from build_svc.given_images import GivenImages
from build_svc.hints import Hints
from build_svc.images import Images
from build_svc.oci.credentials import DockerCredentials
from build_svc.pipeline import Pipeline
from build_svc.ports import Builder
from build_svc.process_builder import ProcessBuilder
from build_svc.publishing import Publisher
from build_svc.registry import GrpcRegistry
from build_svc.reporter import Reporter
from build_svc.retention import Retention
from build_svc.scratch import Scratch
from build_svc.service import SERVICE_NAME, BuildServicer, Parts
from build_svc.settings import BuildSettings
from build_svc.shelf import Shelf
from build_svc.sources import Sources
from build_svc.spin.builder import SpinBuilder
from build_svc.spin.builder import Surroundings as SpinSurroundings
from build_svc.spin.componentizing import Limits
from build_svc.spin.hosts import Hosts
from build_svc.spin.pace import Pace
from build_svc.spin.tools import SpinTools, SpinVersions
from build_svc.spin_pull import SpinPull
from build_svc.spin_push import SpinPush
from build_svc.store import BuildStore
from build_svc.sweep import Ages, Sweeper
from build_svc.targets import Targets
from build_svc.toolchain import Toolchain
from build_svc.tree_cache import TreeCache
from build_svc.users import BuildUsers
from build_svc.worker import Timing, Worker
from fnmesh.build.v1 import build_service_pb2_grpc as pb_grpc
from mesh.auth import Authenticator
from mesh.blobs import BlobStore, open_blobs
from mesh.clock import Clock, SystemClock
from mesh.db import Database
from mesh.fanout import Fanout
from mesh.keys import CachedKeyVerifier, RemoteKeyVerifier
from mesh.loops import claim_loop, run_forever
from mesh.main import StartupError
from mesh.membership import joined
from mesh.rpc_client import open_channel
from mesh.rpc_server import BoundServer, serve
from mesh.secrets_key import load_cipher

MIGRATIONS = Path(__file__).with_name("migrations")
_CLAIM_S = 1.0
_REPORT_S = 2.0
_SWEEP_SOON_S = 1.0


@dataclass(frozen=True)
class Surroundings:
    """What time it is, and this process's environment."""

    clock: Clock
    environ: Mapping[str, str]


async def migrate(settings: BuildSettings) -> None:
    """Bring the tables up to date."""
    database = Database(settings.database_url, schema=settings.service)
    try:
        await database.migrate(MIGRATIONS)
    finally:
        await database.close()


@asynccontextmanager
async def running(
    settings: BuildSettings, *, clock: Clock | None = None, environ: Mapping[str, str] | None = None
) -> AsyncIterator[BoundServer]:
    """The whole service, serving and building, until the context is left.

    `environ` (this process's environment where not given) says where the Docker daemon is and how package indexes
    are reached.

    On the way out: it leaves the gateway's endpoints, stops taking calls, gives its builds back to be claimed
    by whoever comes next, and closes what it opened, in the reverse order of opening.
    """
    clock = clock or SystemClock()
    environ = os.environ if environ is None else environ
    token = settings.read_token()
    async with AsyncExitStack() as stack:
        database = Database(settings.database_url, schema=settings.service)
        stack.push_async_callback(database.close)
        await database.migrate(MIGRATIONS)
        channel = await stack.enter_async_context(
            open_channel(
                settings.registry_address,
                token=token,
                idempotent_methods=frozenset({"CreateRevision", "ReportBuild"}),
            )
        )
        service, loops = await _wire(settings, database, channel, Surroundings(clock, environ), stack)
        verifier = CachedKeyVerifier(RemoteKeyVerifier(channel)) if settings.auth == "keys" else None
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        running_loops = [tasks.create_task(loop) for loop in loops]
        stack.callback(lambda: [task.cancel() for task in running_loops])
        bound = await stack.enter_async_context(
            serve(
                settings.own_address,
                lambda server: pb_grpc.add_BuildServiceServicer_to_server(service, server),
                public_services=[SERVICE_NAME],
                auth=Authenticator(settings.auth, token, verifier),
            )
        )
        await stack.enter_async_context(
            joined(settings.gateway_address, settings.service, settings.advertised(bound.address), token=token)
        )
        yield bound


async def _wire(
    settings: BuildSettings,
    database: Database,
    channel: grpc.aio.Channel,
    around: Surroundings,
    stack: AsyncExitStack,
) -> tuple[BuildServicer, list[Coroutine[Any, Any, None]]]:
    """The servicer, and the loops to run beside it."""
    clock, environ = around.clock, around.environ
    store, shelf, fanout = (
        BuildStore(database, clock),
        Shelf(database, clock),
        Fanout(database, others=settings.has_replicas),
    )
    hints = Hints(fanout.tell)
    fanout.on("changed", hints.wake)
    fanout.on("cancel", hints.wake_to_cancel)
    registry = GrpcRegistry(channel)
    blobs = open_blobs(settings.blob_url)
    workshop = open_workshop(settings)
    limits = ArchiveLimits(settings.build_unpacked_max_bytes, settings.build_entries_max)
    sources = Sources(shelf, blobs, max_bytes=settings.build_source_max_bytes, limits=limits, spool=workshop)
    daemon = DockerDaemon(
        settings.build_docker_host or environ.get("DOCKER_HOST", ""),
        settings.read_mesh_id(),
        ContainerLimits(settings.build_docker_memory_bytes, settings.build_docker_cpus),
        threads=2 * settings.build_parallelism + 4,
    )
    stack.push_async_callback(daemon.close)
    made = BuiltImages(daemon)
    cache, users = TreeCache(workshop / "cache"), BuildUsers(settings.build_uid_base)
    toolchain = Toolchain(
        workshop / "toolchain",
        workload_python=settings.workload_python,
        workload_node=settings.workload_node,
        uid=users.of_tools,
        environ=environ,
    )
    process = ProcessBuilder(toolchain, cache, blobs, max_bytes=settings.build_artifact_max_bytes)
    bases = {Runtime.PYTHON: settings.build_python_image, Runtime.NODE: settings.build_node_image}
    docker = DockerBuilder(daemon, made, shelf, bases, environ)
    spin = _spin_builder(settings, workshop, toolchain, cache, blobs, around)
    targets = Targets(
        daemon.answers,
        clock,
        processes=settings.build_process_target,
        clusters=bool(settings.build_cluster_repository),
    )
    scratch = Scratch(workshop / "scratch", users)
    docker_credentials = DockerCredentials(environ)
    spin_push, docker_push = SpinPush(blobs, scratch), DockerPush(daemon)
    repository = ClusterRepository(
        settings.build_cluster_repository,
        docker_credentials,
        spin_push,
        docker_push,
        insecure=settings.insecure_registries,
    )
    cluster = ClusterBuilder(docker, spin, shelf, repository)
    images = Images(docker_credentials, insecure=settings.insecure_registries)
    given_images = GivenImages(images, store)
    builders: dict[Target, Builder] = {Target.DOCKER: docker, Target.SPIN: spin, Target.KUBERNETES: cluster}
    if settings.build_process_target:
        builders[Target.PROCESS] = process
    pipeline = Pipeline(
        shelf,
        sources,
        builders,
        given_images,
        workshop=workshop,
        scratch=scratch,
        limits=limits,
    )
    timing = Timing(settings.build_lease_s, settings.build_timeout_s)
    pull = SpinPull(sources, images, max_bytes=settings.build_source_max_bytes, spool=workshop)
    publisher = Publisher(
        store,
        load_cipher(settings.build_secrets_key_file),
        docker_credentials,
        spin_push,
        docker_push,
        insecure=settings.insecure_registries,
    )
    worker = Worker(store, pipeline, publisher, registry, targets, hints, timing, clock)
    reporter = Reporter(store, shelf, registry, hints)
    ages = Ages(timedelta(seconds=settings.build_gc_grace_s), timedelta(seconds=settings.build_cache_unused_s))
    sweeper = Sweeper(
        store,
        shelf,
        Retention(database, registry, clock, kept=settings.build_kept, grace=ages.grace),
        registry,
        {
            ArtifactKind.TREE: process,
            ArtifactKind.IMAGE: docker,
            ArtifactKind.WASM: spin,
            ArtifactKind.CLUSTER_IMAGE: cluster,
        },
        blobs,
        cache,
        made,
        scratch,
        hints,
        clock,
        ages,
    )
    clusters = ForClusters(repository, given_images)
    acceptance = Acceptance(store, sources, registry, targets, publisher, clusters, hints, clock)
    parts = Parts(store, sources, acceptance, pull, given_images, registry, hints, clock)
    loops = [
        claim_loop(
            worker.claim,
            worker.work,
            slots=settings.build_parallelism,
            interval_s=_CLAIM_S,
            wake=hints.work,
            name="builds",
        ),
        run_forever(reporter.step, interval_s=_REPORT_S, wake=hints.reports, name="reports"),
        run_forever(sweeper.step, interval_s=settings.build_gc_interval_s, wake=hints.sweep, name="sweep"),
        run_forever(sweeper.watch_deletions, interval_s=_SWEEP_SOON_S, name="deletions"),
        fanout.run(),
    ]
    return BuildServicer(parts, watch_max_age_s=settings.build_watch_max_age_s), loops


def _spin_builder(
    settings: BuildSettings,
    workshop: Path,
    toolchain: Toolchain,
    cache: TreeCache,
    blobs: BlobStore,
    around: Surroundings,
) -> SpinBuilder:
    versions = SpinVersions(
        sdk=settings.build_spin_sdk_version,
        componentize=settings.build_spin_componentize_version,
        mypy=settings.build_spin_mypy_version,
        python=settings.build_spin_python_version,
    )
    tools = SpinTools(workshop / "toolchain", toolchain, versions)
    hosts = Hosts(workshop / "toolchain", settings.workload_spin_host, around.environ)
    pace = Pace(workshop / "toolchain" / "pace.json", around.clock)
    limits = Limits(settings.build_spin_timeout_s, settings.build_spin_memory_bytes)
    parts = SpinSurroundings(toolchain, tools, hosts, cache, blobs, pace)
    return SpinBuilder(parts, limits, max_bytes=settings.build_artifact_max_bytes)


def open_workshop(settings: BuildSettings) -> Path:
    """The directory where builds run: ours alone to write, for any user to pass through. Raises StartupError."""
    path = settings.build_work_dir or settings.data_dir.absolute() / "build"
    if settings.build_work_dir is None and os.geteuid() == 0 and not _passable(path):
        name = hashlib.sha256(str(settings.data_dir.absolute()).encode()).hexdigest()[:8]
        path = Path(tempfile.gettempdir()) / f"fnmesh-build-{name}"
    path.mkdir(mode=0o755, parents=True, exist_ok=True)
    status = path.lstat()
    if status.st_uid != os.geteuid() or not stat.S_ISDIR(status.st_mode):
        raise StartupError(f"{path} belongs to somebody else; set FNMESH_BUILD_WORK_DIR to a directory of your own.")
    path.chmod(0o755)
    for name in ("scratch", "cache", "toolchain"):
        (path / name).mkdir(mode=0o755, exist_ok=True)
    return path


def _passable(path: Path) -> bool:
    """Whether any user could pass through to `path`, as far as it is there already."""
    path = path.resolve()
    return all(one.stat().st_mode & 0o001 for one in path.parents if one.exists())
