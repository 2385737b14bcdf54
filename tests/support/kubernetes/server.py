"""A whole cluster in this process: its API server over real HTTP, its controllers, its one node."""

from __future__ import annotations

import asyncio
import concurrent.futures
import socket
import threading
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvicorn

from tests.support.accepting import end_accepting
from tests.support.kubernetes import kubeconfig
from tests.support.kubernetes.access import Access
from tests.support.kubernetes.answers import Answers
from tests.support.kubernetes.api import Api, Target
from tests.support.kubernetes.controllers import Controllers
from tests.support.kubernetes.copies import clone
from tests.support.kubernetes.door import Door
from tests.support.kubernetes.faults import Faults, Ledger
from tests.support.kubernetes.kubelet import NODE, Kubelet
from tests.support.kubernetes.objects import Options
from tests.support.kubernetes.pod_logs import PodLogs
from tests.support.kubernetes.resources import DEFINITIONS, NAMESPACES, NODES, Catalog
from tests.support.kubernetes.spin_crd import SPIN_APP_CRD
from tests.support.kubernetes.storage import Storage
from tests.support.kubernetes.times import ClusterClock
from tests.support.kubernetes.watching import Watches

Json = dict[str, Any]

_SYSTEM = ("default", "kube-system", "kube-public", "kube-node-lease")
_PATIENCE_S = 60


class _ClosingError(Exception):
    pass


class FakeKubernetes:
    """A cluster with `namespaces` besides those each has; SpinKube and a metrics server only if they are asked for.

    Use it as a context manager: it listens on 127.0.0.1, on a port that `stop` and `start` keep; with TLS where a
    certificate and its key are given.
    """

    def __init__(
        self, *, spinkube: bool = False, metrics: bool = False, namespaces: tuple[str, ...] = (),
        certificate: tuple[Path, Path] | None = None,
    ) -> None:  # fmt: skip
        self.clock = ClusterClock()
        self.storage = Storage()
        self.catalog = Catalog(lambda: self.storage.all(DEFINITIONS), metrics=metrics)
        self.api = Api(self.storage, self.clock)
        self.access = Access(self.clock)
        self.faults = Faults()
        self.requests = Ledger()
        self.watches = Watches(self.storage)
        self.logs = PodLogs(self.clock)
        self.kubelet = Kubelet(self.storage, self.clock, self.logs, self._spawn)
        self.controllers = Controllers(self.storage, self.catalog, self.api, self.kubelet, self.clock, self._wake)
        self._answers = Answers(self.storage, self.api, self.watches, self.logs, self.kubelet, self.clock)
        self._door = Door(self.catalog, self.access, self.faults, self.requests, self._answers, self._hang_up)
        self._certificate = certificate
        self._port = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = asyncio.Event()
        self._closing = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="fake-kubernetes", daemon=True)
        self._group: asyncio.TaskGroup | None = None
        self._ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._http: uvicorn.Server | None = None
        options = Options(manager="kubeadm")
        for name in (*_SYSTEM, *namespaces):
            self.api.create(Target(NAMESPACES), {"metadata": {"name": name}}, options)
        self.api.create(Target(NODES), {"metadata": {"name": NODE, "labels": {"kubernetes.io/os": "linux"}}}, options)
        if spinkube:
            self.install_spinkube()
        self.controllers.settle()

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.result(_PATIENCE_S)
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._running_loop().call_soon_threadsafe(self._closing.set)
        self._loop = None
        self._thread.join(_PATIENCE_S)
        assert not self._thread.is_alive(), "the fake cluster's thread does not end"

    @property
    def address(self) -> str:
        """Its URL."""
        return f"{'https' if self._certificate else 'http'}://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listens (again), on the port it had."""
        self._call(self._listen())

    def stop(self) -> None:
        """Breaks all connections off and refuses new ones; the cluster lives on."""
        self._call(self._unlisten())

    def install_spinkube(self) -> None:
        """Makes SpinApps known, and has the operator look after them."""
        self.api.create(Target(DEFINITIONS), SPIN_APP_CRD, Options(manager="kubectl"))

    def kubeconfig(
        self, path: Path, context: str = "fake", *, token: str | None = None, token_file: Path | None = None,
        namespace: str = "",
    ) -> Path:  # fmt: skip
        """Adds a context for this cluster to the kubeconfig at `path`; of the administrator if no token is given."""
        token = self.access.admin_token if token is None else token
        login = kubeconfig.Login(token, token_file)
        authority = self._certificate[0] if self._certificate else None
        return kubeconfig.add_context(path, context, self.address, login, namespace=namespace, authority=authority)

    def settle(self) -> None:
        """Has the controllers and the kubelet finish what there is to do now."""
        self.controllers.settle()

    def advance(self, seconds: float) -> None:
        """Lets time pass at once: deadlines that are over then are seen."""
        self.clock.advance(seconds)
        self.controllers.time_passed()

    def compact(self) -> None:
        """Forgets the history: a watch from what was listed before is told 410."""
        self.storage.compact()

    def scale(self, namespace: str, name: str, replicas: int, *, manager: str = "kube-controller-manager") -> None:
        """What an autoscaler does to a Deployment."""
        target = Target(self._resource("deployments"), namespace, name)
        self._answers.scaled(target, replicas, Options(manager=manager))

    def get(self, plural: str, name: str, namespace: str = "default") -> Json:
        """A copy of an object, by its kind's plural name ("deployments"). Raises LookupError."""
        with self.storage.lock:
            found = self.storage.find(self._resource(plural), namespace, name)
            if found is None:
                raise LookupError(f"there is no {plural} {namespace}/{name}")
            return clone(found)

    def list(self, plural: str, namespace: str = "", **labels: str) -> list[Json]:
        """Copies of the objects of a kind that have those labels."""
        with self.storage.lock:
            found = self.storage.all(self._resource(plural), namespace)
            wanted = labels.items()
            return [clone(one) for one in found if wanted <= (one["metadata"].get("labels") or {}).items()]

    def _resource(self, plural: str) -> Any:
        found = [one for one in self.catalog.all() if plural in (one.plural, one.qualified)]
        if not found:
            raise LookupError(f"there is no kind {plural}")
        return found[0]

    def _run(self) -> None:
        asyncio.run(self._live())

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as self._group:
                self._group.create_task(self._control())
                self._ready.set_result(None)
                await self._closing.wait()
                raise _ClosingError  # which cancels what still goes on
        except* _ClosingError:
            pass

    async def _control(self) -> None:
        while True:
            self._woken.clear()
            self.controllers.settle()
            try:
                await asyncio.wait_for(self._woken.wait(), self.controllers.next_deadline_s())
            except TimeoutError:
                self.controllers.time_passed()

    async def _listen(self) -> None:
        assert self._group is not None and self._http is None
        # asyncio turns Nagle's algorithm off only where the protocol is named.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._port))
        self._port = listener.getsockname()[1]
        tls: Json = {}
        if self._certificate is not None:
            tls = {"ssl_certfile": self._certificate[0], "ssl_keyfile": self._certificate[1]}
        config = uvicorn.Config(
            self._door, lifespan="off", log_config=None, access_log=False, ws="none", timeout_keep_alive=600,
            server_header=False, **tls,
        )  # fmt: skip
        server = uvicorn.Server(config)
        config.load()
        server.lifespan = config.lifespan_class(config)
        await server.startup(sockets=[listener])
        self._http = server

    async def _unlisten(self) -> None:
        server = self._http
        if server is not None:
            for listening in server.servers:
                await end_accepting(listening)
            for connection in list(server.server_state.connections):
                connection.transport.abort()
        self._http = None

    def _hang_up(self, client: tuple[str, int]) -> None:
        for connection in list(self._http.server_state.connections if self._http else ()):
            if getattr(connection, "client", None) == client:
                connection.transport.abort()

    def _wake(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._woken.set)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        def begin() -> None:
            assert self._group is not None
            self._group.create_task(work)

        self._running_loop().call_soon_threadsafe(begin)

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._running_loop()).result(_PATIENCE_S)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        assert self._loop is not None, "the cluster is not running"
        return self._loop
