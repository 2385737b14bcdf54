"""The Docker daemon through its SDK: blocking calls in one bounded set of threads, errors as the mesh's own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import IO, Any, TypeVar

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import LogConfig, Mount
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

from build_svc.domain import BuildFailed, log_text
from build_svc.lines import LineSink, Splitter
from mesh.errors import Unavailable

T = TypeVar("T")
_CALL_S = 60
_COMMIT_S = 300
_PING_S = 2
_DEFAULT_URL = "unix:///var/run/docker.sock"
DOWN = (RequestException, HTTPError, OSError)


@dataclass(frozen=True)
class ContainerLimits:
    """What a container that builds may use."""

    memory_bytes: int
    cpus: float


@dataclass(frozen=True)
class Plan:
    """A container to make: from `image`, running `argv` as `user`, with an unnamed volume at `volume` that is in no
    image made of it."""

    name: str
    image: str
    argv: Sequence[str]
    user: str
    workdir: str
    volume: str
    network: bool


class DockerDaemon:
    """One daemon, at `url` (empty: the default socket). Raises Unavailable where it does not answer."""

    def __init__(self, url: str, mesh_id: str, limits: ContainerLimits, *, threads: int) -> None:
        self._url = url or None
        self.mesh_id = mesh_id
        self._name_prefix = f"fnmesh-build-{mesh_id[:16]}-"
        self._limits = limits
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="docker")
        self._threads = threads
        self._api: docker.APIClient | None = None
        self._opening = threading.Lock()

    async def close(self) -> None:
        """Let go of the threads and connections."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        if self._api is not None:
            self._api.close()

    async def answers(self) -> bool:
        """Whether the daemon answers within two seconds."""

        def ask() -> bool:
            try:
                api = self._open(_PING_S)
                try:
                    return bool(api.ping())
                finally:
                    api.close()
            except (DockerException, *DOWN):
                return False

        return await asyncio.get_running_loop().run_in_executor(self._executor, ask)

    async def call(self, work: Callable[[docker.APIClient], T]) -> T:
        """Run `work` with the client in a thread. Raises Unavailable; docker's own errors where it refuses."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._with_api, work)
        except APIError:
            raise
        except (DockerException, *DOWN) as error:
            raise _down(error) from None

    async def image_id(self, name: str) -> str | None:
        """The id of an image that is here, by name or id; None if it is not."""
        found = await self.inspect(name)
        return str(found["Id"]) if found else None

    async def inspect(self, name: str) -> Mapping[str, Any] | None:
        """What the daemon says of an image; None if it is not here."""
        try:
            return await self.call(lambda api: dict(api.inspect_image(name)))  # type: ignore[no-untyped-call]
        except ImageNotFound:
            return None

    async def pull(self, name: str, on_line: LineSink) -> None:
        """Pull an image. Raises BuildFailed with the registry's own words."""
        repository, tag = _split(name)

        def events(api: docker.APIClient) -> Iterator[bytes]:
            for event in api.pull(repository, tag=tag, stream=True, decode=True):
                if "error" in event:
                    raise BuildFailed(log_text(str(event["error"])))
                if not event.get("progressDetail"):
                    yield f"{event.get('id', '')} {event.get('status', '')}".strip().encode()

        try:
            await self._stream(events, on_line)
        except APIError as error:
            raise BuildFailed(str(error.explanation)) from None

    async def remove_image(self, reference: str) -> bool:
        """Remove an image that no container uses and no other image is made of; False where one does."""
        try:
            await self.call(lambda api: api.remove_image(reference, force=False))
        except ImageNotFound:
            return True
        except APIError as error:
            if error.status_code == 409:
                return False
            raise Unavailable("DOCKER_REFUSED", str(error.explanation)) from None
        return True

    @asynccontextmanager
    async def container(self, plan: Plan) -> AsyncIterator[Container]:
        """A container, not started; gone with its volume and all its processes when the context is left."""
        await self.remove_container(plan.name)
        try:
            await self.call(partial(self._create, plan=plan))
            yield Container(self, plan.name)
        finally:
            await asyncio.shield(self.remove_container(plan.name))

    def container_name(self, build_uid: str, step: str) -> str:
        """What the container of a build's step is called, so that one left by a killed builder can be told."""
        return f"{self._name_prefix}{build_uid}-{step}"

    async def build_containers(self) -> Mapping[str, str]:
        """The containers of builds that there are, running or not: name to the build's uid."""
        found = await self.call(lambda api: api.containers(all=True, filters={"label": f"fnmesh.mesh={self.mesh_id}"}))
        names = [name.removeprefix("/") for one in found for name in one["Names"]]
        ours = [name for name in names if name.startswith(self._name_prefix)]
        return {name: name.removeprefix(self._name_prefix).rpartition("-")[0] for name in ours}

    def _create(self, api: docker.APIClient, plan: Plan) -> None:
        config = api.create_host_config(
            mounts=[Mount(target=plan.volume, source=None, type="volume")],
            network_mode="bridge" if plan.network else "none",
            mem_limit=self._limits.memory_bytes,
            memswap_limit=self._limits.memory_bytes,
            nano_cpus=int(min(self._limits.cpus, int(api.info()["NCPU"])) * 1e9),
            pids_limit=1024,
            cap_drop=["ALL"],
            cap_add=["CHOWN", "DAC_OVERRIDE", "FOWNER"] if plan.user.startswith("0") else None,
            security_opt=["no-new-privileges:true"],
            init=True,
            log_config=LogConfig(type="json-file", config={"max-size": "100m"}),  # one that can be read back
        )
        api.create_container(
            plan.image,
            command=list(plan.argv),
            entrypoint=[],
            user=plan.user,
            working_dir=plan.workdir,
            name=plan.name,
            labels={"fnmesh.mesh": self.mesh_id},
            host_config=config,
        )

    async def remove_container(self, name: str) -> None:
        """Ends a container with its volume and all its processes; one that is not there is none."""
        with suppress(NotFound, APIError):  # 409: its removal is under way already
            await self.call(lambda api: api.remove_container(name, force=True, v=True))

    async def stream(self, start: Callable[[docker.APIClient], Iterator[bytes]], on_line: LineSink) -> None:
        """Pass on the lines that `start` yields pieces of. Cancelled, it stops listening."""
        lines = Splitter(on_line)
        await self._stream(start, lines.feed)
        await lines.end()

    async def _stream(self, start: Callable[[docker.APIClient], Iterator[bytes]], on_piece: LineSink) -> None:
        loop = asyncio.get_running_loop()
        stopped = threading.Event()

        def pump(api: docker.APIClient) -> None:
            for piece in start(api):
                if stopped.is_set():
                    return
                asyncio.run_coroutine_threadsafe(_passed(on_piece, piece), loop).result()

        try:
            await self.call(pump)
        finally:
            stopped.set()

    def _with_api(self, work: Callable[[docker.APIClient], T]) -> T:
        with self._opening:
            if self._api is None:
                self._api = self._open(_COMMIT_S, version="auto", max_pool_size=self._threads)
        return work(self._api)

    def _open(self, timeout_s: int, **options: Any) -> docker.APIClient:
        """A client of the daemon. Raises ConnectionRefusedError where nobody listens."""
        if not _somebody_listens(self._url or _DEFAULT_URL):
            raise ConnectionRefusedError
        return docker.APIClient(base_url=self._url, timeout=timeout_s, **options)


class Container:
    """A container of the daemon, by name."""

    def __init__(self, daemon: DockerDaemon, name: str) -> None:
        self._daemon = daemon
        self._name = name

    async def put(self, place: str, tar: IO[bytes] | bytes) -> None:
        """Unpack a tar at a directory that is there."""
        await self._daemon.call(lambda api: api.put_archive(self._name, place, tar))

    async def run(self, on_line: LineSink) -> int:
        """Start it, pass on what it writes; its exit status (137 where it ran out of memory)."""

        def output(api: docker.APIClient) -> Iterator[bytes]:
            api.start(self._name)
            pieces = api.logs(self._name, stdout=True, stderr=True, stream=True, follow=True)
            try:
                yield from pieces
            finally:
                pieces.close()

        await self._daemon.stream(output, on_line)
        answer = await self._daemon.call(lambda api: api.wait(self._name, timeout=_CALL_S))
        return int(answer["StatusCode"])

    async def commit(self, tag: str, changes: Sequence[str]) -> str:
        """Make an image of it as it is now; its id."""
        repository, _, version = tag.partition(":")
        answer = await self._daemon.call(
            lambda api: api.commit(self._name, repository=repository, tag=version, changes=list(changes), pause=False)
        )
        return str(answer["Id"])


async def _passed(on_piece: LineSink, piece: bytes) -> None:
    await on_piece(piece)


def _somebody_listens(url: str) -> bool:
    """Whether a unix socket accepts; true for other addresses. The SDK leaves its socket open where nobody does."""
    if not url.startswith("unix:"):
        return True
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PING_S)
        return probe.connect_ex("/" + url.removeprefix("unix:").lstrip("/")) == 0


def _split(name: str) -> tuple[str, str | None]:
    """Repository and tag; a name by digest has none."""
    if "@" in name:
        return name, None
    head, _, tail = name.rpartition(":")
    return (head, tail) if head and "/" not in tail else (name, "latest")


def _down(error: Exception) -> Unavailable:
    return Unavailable("DOCKER_UNAVAILABLE", f"The Docker daemon does not answer ({type(error).__name__}); start it.")
