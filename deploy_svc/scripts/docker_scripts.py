"""Scripts as containers of the base images, as confined as those of functions. Code and event go in as files."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import docker
import docker.errors
import docker.types

from deploy_svc.containers.container_spec import MESH_LABEL, container_name, network_name
from deploy_svc.containers.daemon import Daemon
from deploy_svc.containers.http_stream import stream
from deploy_svc.containers.log_frames import LogFrames
from deploy_svc.containers.network import ensure_network
from deploy_svc.domain import LogStream
from deploy_svc.ports import Exit
from deploy_svc.scripts.ports import Language, ScriptLine, ScriptSpec
from mesh.errors import FailedPrecondition, NotFound, Unavailable
from mesh.logs import get_logger
from runtimes.catalog import RUN_UID

log = get_logger(__name__)
SCRIPT_LABEL = "fnmesh.script"
_PLACE = "/job"
_COMMANDS: Mapping[Language, str] = {"python": "python -u", "node": "node"}
_SETTINGS: Mapping[Language, str] = {
    "python": "FNMESH_DEPLOY_SCRIPT_PYTHON_IMAGE",
    "node": "FNMESH_DEPLOY_SCRIPT_NODE_IMAGE",
}
_MIN_MEMORY_BYTES = 6 << 20  # Docker's own
_LOG_OPTIONS = {"max-size": "64m", "max-file": "1"}
_PIDS = 256
_END_S = 10.0
_POLL_S = 0.2


class _Running:
    def __init__(self, daemon: Daemon, name: str, handle: str) -> None:
        self._daemon = daemon
        self._name = name
        self.handle = handle
        self.exit = Exit()

    async def output(self) -> AsyncIterator[Sequence[ScriptLine]]:
        frames = LogFrames(0)
        path = f"/containers/{self._name}/logs?follow=1&stdout=1&stderr=1&timestamps=1"
        async for block in stream(self._daemon.address(), path):
            lines = frames.feed(block)
            if lines:
                yield [
                    ScriptLine(line.stream is LogStream.STDERR, line.text, line.written_at or datetime.now(UTC))
                    for line in lines
                ]
        self.exit = await self._ended()

    async def _ended(self) -> Exit:
        """How it ended; the log may be at its end a moment before the container is."""
        async with asyncio.timeout(_END_S):
            while True:
                found = await self._daemon.call(lambda api: api.inspect_container(self._name))
                if found["State"]["Status"] in ("exited", "dead"):
                    return _exit_of(found)
                await asyncio.sleep(_POLL_S)


class DockerScripts:
    """The target `docker`. `images` are what scripts of a language run in."""

    def __init__(self, daemon: Daemon, mesh_id: str, images: Mapping[Language, str]) -> None:
        self._daemon = daemon
        self._mesh_id = mesh_id
        self._images = images

    @asynccontextmanager
    async def running(self, spec: ScriptSpec) -> AsyncIterator[_Running]:
        name = container_name(spec.run)
        try:
            made = await self._daemon.call(lambda api: self._start(api, spec, name))
            yield _Running(self._daemon, name, made[:12])
        finally:
            await asyncio.shield(self._remove(name))

    async def sweep(self) -> None:
        filters = {"label": [f"{MESH_LABEL}={self._mesh_id}", SCRIPT_LABEL]}
        for one in await self._daemon.call(lambda api: api.containers(all=True, filters=filters)):
            log.warning("script_left_behind", run=one["Labels"][SCRIPT_LABEL])
            await self._remove(one["Id"])

    def _start(self, api: docker.APIClient, spec: ScriptSpec, name: str) -> str:
        ensure_network(api, self._mesh_id)
        image = self._images[spec.language]
        try:
            made: str = api.create_container(
                image,
                command=["sh", "-c", f"exec {_COMMANDS[spec.language]} {_PLACE}/{spec.file} < {_PLACE}/event.json"],
                name=name,
                user=f"{RUN_UID}:{RUN_UID}",
                working_dir="/tmp",  # noqa: S108 -- the container's own
                environment={**spec.variables(), "TMPDIR": "/tmp", "HOME": "/tmp"},  # noqa: S108
                labels={MESH_LABEL: self._mesh_id, SCRIPT_LABEL: spec.run},
                volumes=[_PLACE],
                host_config=api.create_host_config(**_host_config(spec.memory_bytes, self._mesh_id)),
            )["Id"]
        except docker.errors.ImageNotFound as error:
            raise FailedPrecondition(
                "IMAGE_MISSING",
                f"Docker has no image '{image}': run 'docker pull {image}', or set {_SETTINGS[spec.language]}.",
                image=image,
            ) from error
        api.put_archive(made, _PLACE, _files(spec))
        api.start(made)
        return made

    async def _remove(self, container: str) -> None:
        try:
            await self._daemon.call(lambda api: api.remove_container(container, v=True, force=True))
        except NotFound:
            return
        except (FailedPrecondition, Unavailable) as error:
            log.warning("script_not_removed", container=container, reason=error.reason)  # the next sweep does


def _files(spec: ScriptSpec) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in ((spec.file, spec.code), ("event.json", spec.event)):
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.uid, member.gid = len(content), 0o400, RUN_UID, RUN_UID
            tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()


def _host_config(memory_bytes: int, mesh_id: str) -> dict[str, Any]:
    memory = max(memory_bytes, _MIN_MEMORY_BYTES)
    return {
        "network_mode": network_name(mesh_id),
        "mem_limit": memory,
        "memswap_limit": memory,
        "nano_cpus": 1_000_000_000,
        "pids_limit": _PIDS,
        "read_only": True,
        "tmpfs": {"/tmp": f"rw,nosuid,nodev,size={memory // 2},mode=1777"},  # noqa: S108
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "init": True,
        "restart_policy": {"Name": "no"},
        "log_config": docker.types.LogConfig(type="json-file", config=_LOG_OPTIONS),
    }


def _exit_of(found: Mapping[str, Any]) -> Exit:
    state = found["State"]
    if state.get("OOMKilled"):
        limit_mib = found["HostConfig"].get("Memory", 0) >> 20
        return Exit(out_of_memory=True, detail=f"Out of memory: its limit is {limit_mib} MiB.")
    code = int(state.get("ExitCode", 0))
    return Exit(signal=code - 128) if code in (134, 137, 139, 143) else Exit(code=code)
