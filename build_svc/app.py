"""Wires build_svc: the only place that constructs its parts."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import grpc.aio
from fnmesh.build.v1 import build_service_pb2_grpc as pb_grpc

from build_svc import sandbox
from build_svc.archive_check import ArchiveLimits
from build_svc.creation import Acceptance
from build_svc.docker_builder import DockerBuilder
from build_svc.docker_daemon import ContainerLimits, DockerDaemon
from build_svc.docker_images import BuiltImages
from build_svc.domain import ArtifactKind, Runtime, Target
from build_svc.hints import Hints
from build_svc.pipeline import Pipeline
from build_svc.process_builder import ProcessBuilder
from build_svc.registry import GrpcRegistry
from build_svc.reporter import Reporter
from build_svc.service import SERVICE_NAME, BuildServicer, Parts
from build_svc.settings import BuildSettings
from build_svc.shelf import Shelf
from build_svc.sources import Sources
from build_svc.store import BuildStore
from build_svc.sweep import Ages, Sweeper
from build_svc.targets import DefaultTarget
from build_svc.toolchain import Toolchain
from build_svc.tree_cache import TreeCache
from build_svc.worker import Timing, Worker
from mesh.auth import Authenticator
from mesh.blobs import open_blobs
from mesh.clock import Clock, SystemClock
from mesh.db import Database
from mesh.keys import CachedKeyVerifier, RemoteKeyVerifier
from mesh.loops import claim_loop, run_forever
from mesh.main import StartupError
from mesh.membership import joined
from mesh.rpc_client import open_channel
from mesh.rpc_server import BoundServer, serve

MIGRATIONS = Path(__file__).with_name("migrations")
_CLAIM_S = 1.0
_REPORT_S = 2.0
_SWEEP_SOON_S = 1.0


async def migrate(settings: BuildSettings) -> None:
    """Bring the tables up to date."""
    database = Database(settings.database_url, schema=settings.service)
    try:
        await database.migrate(MIGRATIONS)
    finally:
        await database.close()


@asynccontextmanager
async def running(settings: BuildSettings, clock: Clock | None = None) -> AsyncIterator[BoundServer]:
    """The whole service, serving and building, until the context is left.

    On the way out: it leaves the gateway's endpoints, stops taking calls, gives its builds back to be claimed
    by whoever comes next, and closes what it opened, in the reverse order of opening.
    """
    clock = clock or SystemClock()
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
        service, loops = await _wire(settings, database, channel, clock, stack)
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
            joined(settings.gateway_address, settings.service, bound.address, token=token)
        )
        yield bound
