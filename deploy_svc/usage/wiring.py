"""Puts the measuring of instances together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from deploy_svc.containers.daemon import Daemon
from deploy_svc.domain import Target
from deploy_svc.settings import DeploySettings
from deploy_svc.store import Store
from deploy_svc.usage.meters import DockerMeter, Meter, ProcessMeter
from deploy_svc.usage.sampler import Sampler
from deploy_svc.usage.service import Names, UsageServicer
from deploy_svc.usage.store import UsageStore
from mesh.clock import Clock
from mesh.db import Database


@asynccontextmanager
async def open_usage(
    settings: DeploySettings,
    database: Database,
    instances: Store,
    names: Names,
    clock: Clock,
    keeps: Callable[[], bool],
    others: Sequence[Meter] = (),
) -> AsyncIterator[UsageServicer]:
    """The service, measuring for as long as the context lasts, and keeping minutes while `keeps` says so."""
    executor = ThreadPoolExecutor(1, "deploy-usage")
    daemon = Daemon(settings.deploy_docker_host)
    store = UsageStore(database)
    meters: tuple[Meter, ...] = (
        ProcessMeter(executor),
        ProcessMeter(executor, Target.SPIN),
        DockerMeter(daemon),
        *others,
    )
    sampler = Sampler(instances, meters, store, clock, keeps, interval_s=settings.deploy_usage_interval_s)
    try:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(sampler.run())
            try:
                yield UsageServicer(names, instances, sampler, store, clock)
            finally:
                running.cancel()
    finally:
        daemon.close()
        executor.shutdown(cancel_futures=True)
