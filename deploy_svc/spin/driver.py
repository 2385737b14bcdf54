"""The driver of the spin target: each instance is a host program that serves one component, found on the machine.

With wasmtime the component is composed with the mesh's provider and compiled ahead of time; with spin it is started
from its spin.toml. Each request gets a fresh instance of the component, unless the function says otherwise.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

from deploy_svc.domain import ArtifactKind, Target, Workload
from deploy_svc.ports import InstanceSpec, OutputLine, TargetHealth
from deploy_svc.process import scratch
from deploy_svc.process.spawn import MARK, Plan, resource_limits
from deploy_svc.process.supervised import ProcessPlaces, SupervisedDriver
from deploy_svc.process.toolchain import check_enterable, may_execute
from deploy_svc.process.users import Users
from deploy_svc.process.working_copies import WorkingCopies
from deploy_svc.spin.addresses import free_address
from deploy_svc.spin.application import environment, read_application, requests_per_instance, stores
from deploy_svc.spin.compiled import CompiledComponents
from deploy_svc.spin.output import HostOutput
from mesh.errors import FailedPrecondition, MeshError
from runtimes.spin.application import SpinApp
from runtimes.spin.host import INSTALL_HINT, INSTANCE_KEY, Host, Serving, executable_copy, find_host, serve_argv

_OWN_BYTES = 192 << 20  # what a host program uses beside the memory of components
_FULL = "full"  # see provider/files.c
_FOR_MEMORY = "RLIMIT_DATA"  # would count what is only reserved, gigabytes of it


class SpinDriver(SupervisedDriver):
    """Runs components. `host` names the program, empty to search; `state` is where their key-value data is; `key_of`
    an instance is what requests to it must carry.
    """

    target = Target.SPIN

    def __init__(
        self,
        places: ProcessPlaces,
        copies: WorkingCopies,
        compiled: CompiledComponents,
        users: Users,
        executor: Executor,
        changed: Callable[[], None] = lambda: None,
        *,
        state: Path,
        toolchain: Path,
        key_of: Callable[[str], str],
        host: str = "",
        scratch_bytes: int = 1 << 30,
    ) -> None:
        super().__init__(places, copies, users, executor, changed, scratch_bytes=scratch_bytes)
        self._state_bytes = scratch_bytes
        self._compiled = compiled
        self._state = state
        self._toolchain = toolchain
        self._key_of = key_of
        self._named_host = host

    async def check(self) -> TargetHealth:
        """Which host program there is, or what to install."""
        user = self.users.of_slot(0)
        try:
            host = await self.in_thread(self._host, user)
            await self.in_thread(self.spawner.check, user)
        except MeshError as error:
            return TargetHealth(False, error.message)
        return TargetHealth(True, f"{host.kind} {host.version}; each request in a fresh instance of the component.")

    async def plan(self, spec: InstanceSpec, user: int | None, home: Path) -> Plan:
        """The host program, with the component's code, limits, variables and data."""
        workload = spec.workload
        if workload.artifact.kind is not ArtifactKind.WASM:
            raise FailedPrecondition(
                "ARTIFACT_KIND", "This revision was not built for the spin target: deploy the function again."
            )
        host = await self.in_thread(self._host, user)
        await self.in_thread(self._make_places, user)
        tree = await self.copies.ensure(workload.artifact.digest, workload.artifact.reference)
        application = await self.in_thread(read_application, tree)
        env = environment(application.app, workload) | {INSTANCE_KEY: self._key_of(spec.uid)}
        serving = Serving(
            address=await self.in_thread(free_address),
            timeout_ms=workload.limits.timeout_ms,
            memory_bytes=workload.limits.memory_bytes,
            env=sorted(env),
            store=await self.in_thread(self._store, workload, application.app, user),
            files=tree / "files" if (tree / "files").is_dir() else None,
            reuse=requests_per_instance(workload),
            marks=[f"{MARK}{home}"],
        )
        component = tree / "spin.toml"
        if host.kind == "wasmtime":
            component = await self._compiled.ensure(application, tree, workload.artifact.digest, host, user)
            await self.in_thread(check_enterable, component.parent, user)
        limits = resource_limits(workload.limits, instances=spec.instances, own_user=user is not None)
        return Plan(
            argv=serve_argv(host, component, serving),
            env={**env, "HOME": str(home), "TMPDIR": str(home / "tmp")},
            cwd=home,
            address=serving.address,
            limits={name: value for name, value in limits.items() if name != _FOR_MEMORY},
            memory_bytes=_OWN_BYTES + workload.limits.memory_bytes * max(1, workload.limits.concurrency),
        )

    def output(self, instance: str, position: int) -> AsyncIterator[Sequence[OutputLine]]:
        """The lines of its output file, told apart by request."""
        return _told(super().output(instance, position))

    async def keep_artifacts(self, digests: frozenset[str]) -> None:
        """Delete all other working copies and compiled code, but those of running instances."""
        await super().keep_artifacts(digests)
        await self._compiled.sweep(digests | self.used_artifacts())

    def watch_data(self) -> None:
        """Mark the stores of functions that have too much data, which the provider then writes no more to."""
        for root in self._state.iterdir() if self._state.is_dir() else ():
            full = scratch.used_bytes(root, self._state_bytes) > self._state_bytes
            for store in root.iterdir():
                with contextlib.suppress(OSError):
                    if full:
                        _mark(store, root.stat().st_uid)
                    else:
                        (store / _FULL).unlink(missing_ok=True)

    async def forget(self, function: str) -> None:
        """Delete its key-value data."""
        await self.in_thread(scratch.remove, self._state / function)

    def _host(self, user: int | None) -> Host:
        found = find_host(self._named_host, toolchain=self._toolchain)
        if found is None:
            raise FailedPrecondition("SPIN_HOST_MISSING", f"{INSTALL_HINT}.")
        if may_execute(found.path, user):
            return found
        if found.kind == "wasmtime":
            return replace(found, path=executable_copy(found.path, self._toolchain))
        raise FailedPrecondition(
            "SPIN_HOST_MISSING", f"The users of functions may not execute {found.path}: put it where they may."
        )

    def _make_places(self, user: int | None) -> None:
        for directory in (self._state.parent, self._state):
            directory.mkdir(mode=0o711, parents=True, exist_ok=True)
            directory.chmod(0o711)
        check_enterable(self._state, user)

    def _store(self, workload: Workload, app: SpinApp, user: int | None) -> Path:
        """The directories of the function's key-value stores, which outlive its instances and revisions."""
        root = self._state / workload.function_uid
        for directory in (root, *(root / name for name in stores(app))):
            directory.mkdir(mode=0o700, exist_ok=True)
            if user is not None and directory.stat().st_uid != user:
                _give(directory, user)
        return root


def _mark(store: Path, user: int) -> None:
    marked = os.open(store / _FULL, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchown(marked, user, -1)
    finally:
        os.close(marked)


def _give(directory: Path, user: int) -> None:
    """Make all in it the user's: it is new, or was somebody else's, as after a restore."""
    for folder, _, names in os.walk(directory):
        for path in (folder, *(os.path.join(folder, name) for name in names)):  # noqa: PTH118 -- there may be many
            os.chown(path, user, user, follow_symlinks=False)


async def _told(batches: AsyncIterator[Sequence[OutputLine]]) -> AsyncIterator[Sequence[OutputLine]]:
    output = HostOutput()
    async for batch in batches:
        told = [line for one in batch if (line := output.read(one)) is not None]
        if told:
            yield told
