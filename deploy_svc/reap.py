"""Stops every instance of this mesh: when the service is ended by SIGUSR1, as `fnmesh up` does, or by
`python -m deploy_svc reap`, for the beginning after one that was killed.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from deploy_svc.app import MIGRATIONS, DeployApp, app, open_database, open_drivers
from deploy_svc.domain import InstanceState
from deploy_svc.log_collector import LogCollector
from deploy_svc.log_store import LogStore
from deploy_svc.ports import Driver
from deploy_svc.scripts.wiring import open_scripts
from deploy_svc.settings import DeploySettings
from deploy_svc.store import Store
from deploy_svc.wakes import Wakes
from mesh.clock import SystemClock
from mesh.errors import MeshError
from mesh.logs import get_logger
from mesh.settings import SettingsError

log = get_logger(__name__)
_GRACE_S = 2.0
_WHY = "Stopped with the mesh."


@asynccontextmanager
async def reaping_app(settings: DeploySettings) -> AsyncIterator[DeployApp]:
    """Runs the service. SIGUSR1 ends it as SIGTERM does, and its instances after it: a process less than to start
    `reap` when it has ended.
    """
    ends_instances = False

    def end() -> None:
        nonlocal ends_instances
        ends_instances = True
        signal.raise_signal(signal.SIGTERM)

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, end)
    async with app(settings) as running:
        yield running
    if ends_instances:
        await reap(settings, ())


async def reap(settings: DeploySettings, arguments: Sequence[str]) -> None:
    """Stop and remove all instances, and say so in their rows. Nothing there is no error."""
    try:
        settings.read_mesh_id()
    except SettingsError:
        return  # a mesh that never ran has no instances
    async with AsyncExitStack() as stack:
        database = open_database(settings)
        stack.push_async_callback(database.close)
        await database.migrate(MIGRATIONS)
        store, clock = Store(database), SystemClock()
        drivers = await stack.enter_async_context(open_drivers(settings, asyncio.Event()))
        scripts = await stack.enter_async_context(open_scripts(settings, lambda: None))
        await scripts.sweep()  # ends those that are left
        collector = LogCollector(LogStore(database), drivers, Wakes(), clock)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        collecting = tasks.create_task(collector.run())
        async with asyncio.TaskGroup() as stops:
            for driver in drivers.values():
                stops.create_task(_empty(driver, store, collector))
        for instance in await store.live_instances():
            if not instance.is_ours:
                continue
            ended = {"ended_at": clock.now(), "message": _WHY}
            await store.change_instance(instance.uid, InstanceState.STOPPED, **ended)
        await store.set_pending(clock.now())
        collecting.cancel()


async def _empty(driver: Driver, store: Store, collector: LogCollector) -> None:
    """Stop and remove all that a driver holds; what does not answer is left for the next time."""
    try:
        seen = await driver.observe()
    except MeshError as error:
        log.info("target_not_reaped", target=driver.target, reason=error.reason)
        return
    async with asyncio.TaskGroup() as tasks:
        for uid in seen:
            tasks.create_task(_stop(driver, store, collector, uid))
    try:
        await driver.vacate()
    except MeshError as error:
        log.info("target_not_vacated", target=driver.target, reason=error.reason)


async def _stop(driver: Driver, store: Store, collector: LogCollector, uid: str) -> None:
    instance = await store.instance(uid)
    try:
        await driver.stop(uid, _GRACE_S)
        if instance is not None:
            collector.follow(instance)
            collector.say(instance, _WHY)
            await collector.finish(uid)
        await driver.remove(uid)
        await store.set_cleaned(uid)
    except MeshError as error:
        log.warning("instance_not_reaped", instance=uid, reason=error.reason)
    except Exception as error:
        log.exception("instance_not_reaped", error, instance=uid)  # the others are stopped all the same
