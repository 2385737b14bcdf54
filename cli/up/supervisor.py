"""Keeps the children of `up` running until it is told to stop, then stops them in order."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from cli.errors import CommandError
from cli.up import envoy_admin
from cli.up.child import Child
from cli.up.forked import Nursery, nursery
from cli.up.plan import DEPLOY, ENVOY, ENVOY_MODULE, FORKED, IMPORTED_LATE, SERVICES, STOP_ORDER, UpPlan
from cli.up.readiness import answers_http, may_listen, until

Say = Callable[[str], None]
_ROTATE_EVERY_S = 10.0


class Supervisor:
    """Starts, watches and stops the services and Envoy.

    `run` returns when `stop` was called and all has ended. `hurry` makes the stop quicker.
    Raises CommandError where a child cannot be started, or fails again and again.
    """

    def __init__(self, plan: UpPlan, say: Say, serves: Callable[[str], Awaitable[bool]]) -> None:
        self._plan = plan
        self._say = say
        self._serves = serves
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._children = {name: self._child(name, [sys.executable, "-m", module]) for name, module in SERVICES.items()}
        self._children[ENVOY] = self._child(
            ENVOY, [sys.executable, "-m", ENVOY_MODULE, "--bootstrap", str(plan.places.envoy_bootstrap)]
        )

    def stop(self) -> None:
        """Begins an orderly stop; called again, makes it a quick one."""
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Runs the mesh; calls `on_ready` once, when it answers."""
        failed: CommandError | None = None
        try:
            await self._until_stopped(on_ready)
        except* CommandError as group:
            failed = _first(group)  # raised here it would be in a group again, in Python before 3.11.4
        finally:
            await self._stop_all()
        if failed is not None:
            raise failed

    async def reap(self) -> None:
        """Ends what workloads an earlier mesh on this data directory, or this one, has left."""
        child = self._child("reap", [sys.executable, "-m", "deploy_svc", "reap"])
        await child.start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._plan.patience.reap_s):
                if await child.wait() != 0:
                    self._say(f"Some workloads may be left: {child.last_words()}")
        await child.stop(0.0)

    async def _until_stopped(self, on_ready: Callable[[], None]) -> None:
        async with asyncio.TaskGroup() as tasks:
            starting = tasks.create_task(self._start_all())
            stopped = tasks.create_task(self._stopping.wait())
            await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                starting.cancel()
                return
            if starting.exception() is None:
                on_ready()
                watches = [tasks.create_task(self._keep(child)) for child in self._children.values()]
                watches.append(tasks.create_task(self._rotate()))
                await self._stopping.wait()
                for watch in watches:
                    watch.cancel()

    async def _start_all(self) -> None:
        """The registry first, since all others ask it, but for the gateway; then Envoy knows what to do, too."""
        async with nursery(FORKED, self._plan.environ, IMPORTED_LATE) as forks, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._start_each(forks, "gateway", ENVOY))
            await self._start_each(forks, "registry")
            for name in set(SERVICES) - {"registry", "gateway"}:
                tasks.create_task(self._start_each(forks, name))

    async def _start_each(self, forks: Nursery | None, *names: str) -> None:
        for name in names:
            await self._start(self._children[name], forks)

    async def _start(self, child: Child, forks: Nursery | None) -> None:
        """Starts a child and waits until it serves. Raises CommandError where it does not."""
        await child.start(forks)
        async with asyncio.TaskGroup() as tasks:
            ended = tasks.create_task(child.wait())
            ready = tasks.create_task(until(lambda: self._is_ready(child), self._plan.patience.start_s))
            await asyncio.wait({ended, ready}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                ready.cancel()
                raise CommandError(_failure(child.name, child, ended.result()))
            ended.cancel()
            if not ready.result():
                raise CommandError(
                    f"{child.name} did not become ready in {self._plan.patience.start_s:.0f} s; "
                    f"see {self._log(child.name)}."
                )

    async def _is_ready(self, child: Child) -> bool:
        if child.name == ENVOY:
            return await answers_http(self._plan.listen)
        address = self._plan.address(child.name)
        return may_listen(address) and await self._serves(address)

    async def _keep(self, child: Child) -> None:
        """Starts a child again whenever it ends. Raises CommandError where that does not help."""
        patience, loop = self._plan.patience, asyncio.get_running_loop()
        started, failures = loop.time() - patience.stable_s, 0
        while True:
            code = await child.wait()
            failures = failures + 1 if loop.time() - started < patience.stable_s else 1
            self._say(_failure(child.name, child, code) + " Starting it again.")
            if failures >= patience.failures:
                raise CommandError(
                    f"{child.name} failed {failures} times in a row: {child.last_words() or f'exit {code}'} "
                    f"(see {self._log(child.name)})."
                )
            await asyncio.sleep(patience.backoff_s(failures))
            started = loop.time()
            await child.start()

    async def _rotate(self) -> None:
        while True:
            await asyncio.sleep(_ROTATE_EVERY_S)
            for child in self._children.values():
                child.rotate()

    async def _stop_all(self) -> None:
        """Nothing new, then what is under way, then the services, the ones that others need last."""
        patience = self._plan.patience
        envoy = self._children[ENVOY]
        if envoy.running:
            await self._drain_envoy()
            await envoy.stop(patience.stop_s, self._hurry)
        for group in STOP_ORDER:
            await asyncio.gather(*(self._stop(name) for name in group))

    async def _stop(self, name: str) -> None:
        """deploy_svc with all workloads: it ends them, or they are ended after it where it does not get that far."""
        child, patience = self._children[name], self._plan.patience
        if name != DEPLOY:
            await child.stop(patience.stop_s, self._hurry)
            return
        ended = await child.stop(patience.stop_s + patience.reap_s, self._hurry, first=signal.SIGUSR1)
        if child.was_started and not ended:
            await self.reap()

    async def _drain_envoy(self) -> None:
        admin = self._plan.places.envoy_admin

        async def idle() -> bool:
            return self._hurry.is_set() or await envoy_admin.requests_under_way(admin) == 0

        with contextlib.suppress(OSError, TimeoutError, ValueError):
            await envoy_admin.stop_listening(admin)
            await until(idle, self._plan.patience.drain_s)

    def _child(self, name: str, argv: list[str]) -> Child:
        return Child(name, argv, self._plan.environ, self._log(name))

    def _log(self, name: str) -> Path:
        return self._plan.places.logs / f"{name}.log"


def _failure(what: str, child: Child, code: int) -> str:
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    words = re.sub(r"^fnmesh \w+: ", "", child.last_words())
    return f"{what} {how}: {words}" if words else f"{what} {how}."


def _first(group: BaseExceptionGroup[CommandError]) -> CommandError:
    for error in group.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    raise AssertionError("an exception group is never empty")
