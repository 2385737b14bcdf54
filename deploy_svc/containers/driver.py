"""The driver of the Docker target.

Everything it makes carries the mesh's own id as a label, so that two meshes of one daemon leave each other alone,
and containers are found by name, so that a call that timed out and may still have happened can be repeated.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import docker

from deploy_svc.containers.container_spec import (
    INSTANCE_LABEL,
    MESH_LABEL,
    PORT,
    container_name,
    create_container,
    network_name,
)
from deploy_svc.containers.daemon import Daemon
from deploy_svc.containers.http_stream import stream
from deploy_svc.containers.log_frames import LogFrames
from deploy_svc.containers.network import ensure_network
from deploy_svc.domain import ArtifactKind, Target
from deploy_svc.ports import Exit, InstanceSpec, Observed, OutputLine, Started, TargetHealth
from mesh.errors import FailedPrecondition, MeshError, NotFound, Unavailable
from mesh.logs import get_logger
from mesh.loops import Backoff

log = get_logger(__name__)
_BACKOFF = Backoff(first_s=0.5, limit_s=15.0)
_GONE = ("exited", "dead")
# A daemon may go on sending nothing for good once it has rotated a log while somebody followed it (seen with 20.10):
# after this much output, this much silence has the log asked for anew.
_HEARD_BYTES, _SILENCE_S = 64 * 1024, 1.0


class DockerDriver:
    """Runs instances as containers. `changed` is called when one may have ended."""

    target = Target.DOCKER

    def __init__(self, daemon: Daemon, mesh_id: str, changed: Callable[[], None] = lambda: None) -> None:
        self._daemon = daemon
        self._mesh_id = mesh_id
        self._changed = changed
        self._exits: dict[str, Exit] = {}
        self._network_ready = False
        self._cpus = 0

    async def check(self) -> TargetHealth:
        """Whether the daemon answers."""
        try:
            version = await self._daemon.call(lambda api: api.version())
        except MeshError as error:
            return TargetHealth(False, error.message)
        return TargetHealth(True, f"Docker {version.get('Version', '')} at {self._daemon.url}.")

    async def start(self, spec: InstanceSpec) -> Started:
        """Create and start the container, or go on with the one that is there."""
        if spec.workload.artifact.kind is not ArtifactKind.IMAGE:
            message = "This revision was not built for the Docker target: deploy the function again."
            raise FailedPrecondition("ARTIFACT_KIND", message)
        await self._ensure_network()
        name = container_name(spec.uid)

        def run(api: docker.APIClient) -> dict[str, Any]:
            self._cpus = self._cpus or int(api.info().get("NCPU") or 1)
            create_container(api, spec, self._mesh_id, self._cpus)
            api.start(name)
            found: dict[str, Any] = api.inspect_container(name)
            return found

        try:
            found = await self._daemon.call(run)
        except NotFound as error:
            self._network_ready = False  # somebody removed it; the next try makes it again
            raise Unavailable("DOCKER_NETWORK", "The network of the mesh was gone; trying again.") from error
        return Started(found["Id"][:12], _address(_bindings(found)))

    async def observe(self) -> Mapping[str, Observed]:
        """All containers of this mesh's instances: one call for all, and one for each that has just ended."""
        labels = {"label": [f"{MESH_LABEL}={self._mesh_id}", INSTANCE_LABEL]}
        listed = await self._daemon.call(lambda api: api.containers(all=True, filters=labels))
        seen = {}
        for one in listed:
            uid = one["Labels"][INSTANCE_LABEL]
            exit_ = await self._exit(one) if one["State"] in _GONE else None
            seen[uid] = Observed(uid, one["Id"][:12], _address(one.get("Ports") or ()), exit_)
        self._exits = {uid: exit_ for uid, exit_ in self._exits.items() if uid in seen}
        return seen

    async def stop(self, instance: str, grace_s: float) -> None:
        """SIGTERM, SIGKILL after the grace."""
        name = container_name(instance)

        def end(api: docker.APIClient) -> None:
            state = api.inspect_container(name)["State"]
            if state["Running"]:
                api.stop(name, timeout=round(grace_s))

        try:
            await self._daemon.call(end)
        except NotFound:
            return

    async def remove(self, instance: str) -> None:
        """Remove the container with its output."""
        name = container_name(instance)
        try:
            await self._daemon.call(lambda api: api.remove_container(name, v=True, force=True))
        except NotFound:
            return
        except FailedPrecondition as error:  # 409: it is being removed already
            raise Unavailable("CONTAINER_BUSY", error.message) from error

    async def output(self, instance: str, position: int) -> AsyncIterator[Sequence[OutputLine]]:
        """Lines of the daemon's log of it; the stream may end at any time, so it is asked whether that was all."""
        failures = 0
        while True:
            ended = await self._has_ended(instance)
            since = f"{position // 10**9}.{position % 10**9:09d}"
            query = f"follow=1&stdout=1&stderr=1&timestamps=1&since={since}"
            frames, heard = LogFrames(position), 0
            path = f"/containers/{container_name(instance)}/logs?{query}"
            blocks = stream(self._daemon.address(), path)
            try:
                while True:
                    async with asyncio.timeout(_SILENCE_S if heard > _HEARD_BYTES else None):
                        block = await anext(blocks)
                    heard += len(block)
                    lines = frames.feed(block)
                    if lines:
                        position, failures = max(line.position for line in lines), 0
                        yield lines
            except NotFound:
                return
            except TimeoutError:
                continue
            except StopAsyncIteration:
                pass
            finally:
                await blocks.aclose()
            if ended:
                return
            failures += 1
            await asyncio.sleep(_BACKOFF.delay_s(failures) if failures > 1 else 0)

    async def keep_artifacts(self, digests: frozenset[str]) -> None:
        """Images are the builder's to sweep."""

    async def forget(self, function: str) -> None:
        """Containers keep nothing that outlives them."""

    async def vacate(self) -> None:
        """Remove the mesh's network; it is made again when needed."""
        try:
            await self._daemon.call(lambda api: api.remove_network(network_name(self._mesh_id)))
        except (NotFound, FailedPrecondition):
            return

    async def run(self) -> None:
        """Say that something changed whenever the daemon tells of a container's end; a hint, so it may fail."""
        filters = {"label": [f"{MESH_LABEL}={self._mesh_id}"], "event": ["die", "oom"], "type": ["container"]}
        failures = 0
        while True:
            try:
                path = f"/events?filters={quote(json.dumps(filters))}"
                async for _ in stream(self._daemon.address(), path):
                    failures = 0
                    self._changed()
            except MeshError as error:
                log.debug("docker_events_ended", reason=error.reason)
            failures += 1
            await asyncio.sleep(_BACKOFF.delay_s(failures))

    async def _exit(self, listed: Mapping[str, Any]) -> Exit:
        uid = listed["Labels"][INSTANCE_LABEL]
        if uid not in self._exits:
            try:
                found = await self._daemon.call(lambda api: api.inspect_container(listed["Id"]))
            except NotFound:
                return Exit()
            self._exits[uid] = _exit_of(found)
        return self._exits[uid]

    async def _has_ended(self, instance: str) -> bool:
        name = container_name(instance)
        try:
            found = await self._daemon.call(lambda api: api.inspect_container(name))
        except NotFound:
            return True
        return found["State"]["Status"] in _GONE

    async def _ensure_network(self) -> None:
        """The mesh's own bridge, on which containers do not reach each other."""
        if self._network_ready:
            return
        await self._daemon.call(lambda api: ensure_network(api, self._mesh_id))
        self._network_ready = True


def _bindings(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    bound = (found["NetworkSettings"].get("Ports") or {}).get(f"{PORT}/tcp") or []
    return [{"IP": b["HostIp"], "PublicPort": int(b["HostPort"]), "PrivatePort": PORT} for b in bound]


def _address(ports: Sequence[Mapping[str, Any]]) -> str:
    """Where the published port is; empty while the container has none."""
    for port in ports:
        if port.get("PrivatePort") == PORT and port.get("PublicPort"):
            return f"{port.get('IP') or '127.0.0.1'}:{port['PublicPort']}"
    return ""


def _exit_of(found: Mapping[str, Any]) -> Exit:
    state = found["State"]
    if state.get("OOMKilled"):
        limit_mib = found["HostConfig"].get("Memory", 0) >> 20
        return Exit(out_of_memory=True, detail=f"Out of memory: its limit is {limit_mib} MiB.")
    code = int(state.get("ExitCode", 0))
    if state.get("Error"):
        return Exit(code=code, detail=str(state["Error"])[:500])
    return Exit(signal=code - 128) if code in (137, 143, 139, 134) else Exit(code=code)
