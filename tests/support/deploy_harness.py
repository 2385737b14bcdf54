"""deploy_svc with a registry that does what the test says: in this process, or as one that can be killed."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio

from deploy_svc.app import DeployApp, app
from deploy_svc.process.unpacking import remove_tree
from deploy_svc.reap import reap
from deploy_svc.settings import DeploySettings
from fnmesh.deploy.v1 import deploy_service_pb2 as deploy_pb
from fnmesh.deploy.v1 import deploy_service_pb2_grpc as deploy_grpc
from fnmesh.deploy.v1 import deployment_pb2
from fnmesh.internal.deploy.v1 import endpoint_service_pb2 as endpoint_pb
from fnmesh.internal.deploy.v1 import endpoint_service_pb2_grpc as endpoint_grpc
from fnmesh.internal.registry.v1 import registry_internal_service_pb2 as internal_pb
from fnmesh.internal.registry.v1 import registry_internal_service_pb2_grpc as internal_grpc
from fnmesh.registry.v1 import function_pb2, revision_pb2
from mesh.auth import Authenticator, ServiceToken
from mesh.blobs import digest_key, open_blobs
from mesh.errors import NotFound, Unavailable
from mesh.rpc_client import open_channel
from mesh.rpc_server import serve
from tests.support.eventually import eventually

ROOT = Path(__file__).parent.parent.parent
_SERVICE = internal_pb.DESCRIPTOR.services_by_name["RegistryInternalService"].full_name


class FakeRegistry(internal_grpc.RegistryInternalServiceServicer):
    """Keeps snapshots and workloads as the test puts them, and what it was told.

    `silent`: it gives no workloads; `deaf`: it takes no reports; `slow_s`: how long it takes for one.
    """

    def __init__(self) -> None:
        self.version = 0
        self.functions: dict[str, internal_pb.FunctionSnapshot] = {}
        self.workloads: dict[tuple[str, int], internal_pb.GetWorkloadResponse] = {}
        self.reports: list[internal_pb.ReportDeploymentRequest] = []
        self.deleted: list[str] = []
        self.silent = False
        self.deaf = False
        self.slow_s = 0.0
        self.asked = 0
        self._changed = asyncio.Condition()

    async def put(self, snapshot: internal_pb.FunctionSnapshot) -> None:
        """Tell watchers of a new state of a function."""
        async with self._changed:
            self.version += 1
            snapshot.version = self.version
            self.functions[snapshot.function.uid] = internal_pb.FunctionSnapshot.FromString(
                snapshot.SerializeToString()
            )
            self._changed.notify_all()

    async def WatchFunctions(self, request: Any, context: Any) -> AsyncIterator[internal_pb.WatchFunctionsResponse]:
        sent = request.after_version
        while True:
            news = sorted((s for s in self.functions.values() if s.version > sent), key=lambda s: s.version)
            for snapshot in news:
                sent = snapshot.version
                yield internal_pb.WatchFunctionsResponse(function=snapshot)
            yield internal_pb.WatchFunctionsResponse(bookmark=internal_pb.Bookmark(version=max(sent, self.version)))
            async with self._changed:
                await self._changed.wait_for(lambda seen=sent: self.version > seen)

    async def GetWorkload(self, request: Any, context: Any) -> internal_pb.GetWorkloadResponse:
        self.asked += 1
        if self.silent:
            raise Unavailable("DATABASE_UNAVAILABLE", "The registry has no database now.")
        known = self.workloads.get((request.function_uid, request.revision_number))
        if known is None:
            raise NotFound("REVISION_NOT_FOUND", "There is no such revision.")
        return known

    async def ReportDeployment(self, request: Any, context: Any) -> internal_pb.ReportDeploymentResponse:
        await asyncio.sleep(self.slow_s)
        if self.deaf:
            raise Unavailable("DATABASE_UNAVAILABLE", "The registry has no database now.")
        self.reports.append(request)
        return internal_pb.ReportDeploymentResponse()

    async def ReportDeleted(self, request: Any, context: Any) -> internal_pb.ReportDeletedResponse:
        self.deleted.append(request.function_uid)
        self.functions.pop(request.function_uid, None)
        return internal_pb.ReportDeletedResponse()

    async def ResolveFunction(self, request: Any, context: Any) -> internal_pb.FunctionSnapshot:
        for snapshot in self.functions.values():
            _, workspace, _, function = request.name.split("/")
            names = (snapshot.function.uid, snapshot.function.display_name)
            if workspace in ("default", "ws-default") and function in names and not snapshot.deleted:
                return snapshot
        raise NotFound("FUNCTION_NOT_FOUND", f"There is no function '{request.name}'.")


@dataclass
class Revision:
    """What a test says of a revision; `files` are paths below the artifact's root (`app/handler.py`)."""

    files: Mapping[str, str | bytes] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    runtime: int = function_pb2.RUNTIME_PYTHON
    target: int = function_pb2.TARGET_PROCESS
    image: str = ""
    entry_file: str = "handler.py"
    memory_bytes: int = 256 << 20
    cpu_millis: int = 1000
    timeout_ms: int = 5000
    concurrency: int = 10


class DeployHarness:
    """Directories, registry, and the service under test."""

    def __init__(self, base: Path, docker_host: str = "") -> None:
        self.base = base
        self.data = base / "d"
        self.run = base / "r"
        self.registry = FakeRegistry()
        self.token = ServiceToken.new()
        self.settings: dict[str, str] = {
            "FNMESH_DATA_DIR": str(self.data),
            "FNMESH_RUN_DIR": str(self.run),
            "FNMESH_TRACE_RATE": "0",
            "FNMESH_TRACE_SHARE": "0",
            "FNMESH_LOG_LEVEL": "debug",
            "FNMESH_DEPLOY_WATCHER_GRACE_S": "0.2",
            "FNMESH_DEPLOY_STOP_GRACE_S": "2",
        }
        if docker_host:
            self.settings["FNMESH_DEPLOY_DOCKER_HOST"] = docker_host
        self._blobs = open_blobs(str(self.data / "blobs"))
        self._child: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Make what `fnmesh up` makes."""
        self.base.chmod(0o711)
        for directory in (self.data, self.run):
            directory.mkdir(mode=0o711, exist_ok=True)
            directory.chmod(0o711)
        (self.data / "blobs").chmod(0o700)
        (self.data / "mesh_id").write_text(f"test-{self.base.name}")
        (self.run / "token").write_text(self.token.value)

    def load_settings(self) -> DeploySettings:
        """The settings as the service reads them."""
        return DeploySettings.load(self.settings)

    async def revision(self, uid: str, number: int, revision: Revision) -> None:
        """Make a revision known (not the serving one yet)."""
        if revision.image:
            kind, reference, digest = revision_pb2.ARTIFACT_KIND_IMAGE, revision.image, f"sha256:{uid}{number}"
        else:
            digest, _ = await self._blobs.put_stream(_once(_tar(revision.files)))
            spin = revision.runtime == function_pb2.RUNTIME_SPIN
            kind = revision_pb2.ARTIFACT_KIND_WASM if spin else revision_pb2.ARTIFACT_KIND_TREE
            reference = digest_key(digest)
        artifact = revision_pb2.Artifact(digest=digest, kind=kind, reference=reference, entry_file=revision.entry_file)
        limits = function_pb2.Limits(
            memory_bytes=revision.memory_bytes, cpu_millis=revision.cpu_millis, concurrency=revision.concurrency
        )
        limits.timeout.FromMilliseconds(revision.timeout_ms)
        self.registry.workloads[uid, number] = internal_pb.GetWorkloadResponse(
            revision=revision_pb2.Revision(
                number=number,
                state=revision_pb2.REVISION_STATE_BUILT,
                artifact=artifact,
                limits=limits,
                runtime=revision.runtime,  # type: ignore[arg-type]
                target=revision.target,  # type: ignore[arg-type]
            ),
            env=revision.env,
            secrets=revision.secrets,
            handler="handler",
            event_format=function_pb2.EVENT_FORMAT_HTTP_V2,
            function_display_name=uid.removeprefix("fn-"),
        )

    async def want(
        self, uid: str, number: int, revision: Revision | None = None, *, instances: int = 1, deleted: bool = False,
        running: bool = True, most: int = 0, idle_ttl_s: float = 0, cluster: function_pb2.ClusterSettings | None = None,
        name: str = "",
    ) -> None:  # fmt: skip
        """Want a revision of a function to serve."""
        if revision is not None:
            await self.revision(uid, number, revision)
        function = function_pb2.Function(
            name=f"workspaces/ws-default/functions/{uid}",
            uid=uid,
            display_name=name or uid.removeprefix("fn-"),
            target=self.registry.workloads[uid, number].revision.target,
            running=running,
            scaling=function_pb2.Scaling(min_instances=instances, max_instances=max(1, instances, most)),
            cluster=cluster,
        )
        if idle_ttl_s:
            function.scaling.idle_ttl.FromMilliseconds(round(idle_ttl_s * 1000))
        await self.registry.put(
            internal_pb.FunctionSnapshot(function=function, serving_revision_number=number, deleted=deleted)
        )

    @asynccontextmanager
    async def running_registry(self) -> AsyncIterator[None]:
        """The registry answers within it."""

        def register(server: grpc.aio.Server) -> None:
            internal_grpc.add_RegistryInternalServiceServicer_to_server(self.registry, server)

        settings = self.load_settings()
        auth = Authenticator("off", self.token)
        async with serve(
            settings.registry_address, register, public_services=(), internal_services=(_SERVICE,), auth=auth, drain_s=0
        ):
            yield

    @asynccontextmanager
    async def here(self) -> AsyncIterator[DeployApp]:
        """The service in this process."""
        async with app(self.load_settings()) as running:
            yield running

    def spawn(self) -> subprocess.Popen[bytes]:
        """The service as a process of its own."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("FNMESH_")} | self.settings
        env["PYTHONPATH"] = os.pathsep.join(str(ROOT / p) for p in ("", "protos", "client"))
        with (self.base / "deploy.log").open("ab") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "deploy_svc"], env=env, stderr=log, start_new_session=True, cwd=self.base
            )
        return self._child

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End the spawned process and wait for it."""
        if self._child is not None:
            self._child.send_signal(number)
            self._child.wait(20)
            self._child = None

    def reap(self) -> None:
        """What `fnmesh up` runs after a deploy_svc that was killed."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("FNMESH_")} | self.settings
        env["PYTHONPATH"] = os.pathsep.join(str(ROOT / p) for p in ("", "protos", "client"))
        subprocess.run([sys.executable, "-m", "deploy_svc", "reap"], env=env, check=True, timeout=120, cwd=self.base)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """Stubs of the service."""
        async with open_channel(self.load_settings().deploy_address, token=self.token) as channel:
            yield Client(channel)

    def directory(self) -> Path:
        """Where sockets of instances are."""
        return self.run / "i"


class Client:
    """Stubs, and questions that tests ask often."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.deploy = deploy_grpc.DeployServiceStub(channel)
        self.endpoints = endpoint_grpc.EndpointServiceStub(channel)

    async def deployment(self, uid: str) -> deployment_pb2.Deployment:
        """The deployment of a function."""
        name = f"workspaces/ws-default/functions/{uid}/deployment"
        answer: deployment_pb2.Deployment = await self.deploy.GetDeployment(deploy_pb.GetDeploymentRequest(name=name))
        return answer

    async def until(self, uid: str, state: int, revision: int = 0, deadline_s: float = 20) -> deployment_pb2.Deployment:
        """The deployment once it is in a state (with a ready instance of a revision)."""

        async def there() -> deployment_pb2.Deployment | None:
            now = await self.deployment(uid)
            assert now.state == state, now
            assert not revision or list(now.ready_revisions) == [revision], now
            return now

        found = await eventually(there, deadline_s)
        assert found is not None
        return found

    async def lines(self, uid: str, **fields: Any) -> list[deployment_pb2.LogEntry]:
        """Log lines of a function."""
        request = deploy_pb.ReadLogsRequest(parent=f"workspaces/ws-default/functions/{uid}", **fields)
        return [line async for line in self.deploy.ReadLogs(request)]


class Watcher:
    """Watches endpoints as invoke_svc does; with `lets_go` it releases draining instances at once."""

    def __init__(self, client: Client, name: str = "watcher", *, lets_go: bool = True) -> None:
        self._call = client.endpoints.WatchEndpoints()
        self._name = name
        self._lets_go = lets_go
        self.endpoints: dict[str, endpoint_pb.Endpoint] = {}
        self.synced = asyncio.Event()

    async def run(self) -> None:
        """Watch until cancelled or the stream ends."""
        await self._call.write(endpoint_pb.WatchEndpointsRequest(hello=endpoint_pb.Hello(watcher=self._name)))
        async for message in self._call:
            kind = message.WhichOneof("message")
            if kind == "synced":
                self.synced.set()
            elif kind == "removed":
                self.endpoints.pop(message.removed.instance, None)
            else:
                self.endpoints[message.endpoint.instance] = message.endpoint
                if not message.endpoint.accepting and self._lets_go:
                    await self.release(message.endpoint.instance, message.endpoint.version)

    async def release(self, instance: str, version: int) -> None:
        """Say that no request of ours is left there."""
        ack = endpoint_pb.Ack(applied_version=version, released_instances=[instance])
        await self._call.write(endpoint_pb.WatchEndpointsRequest(ack=ack))

    def accepting(self) -> list[endpoint_pb.Endpoint]:
        """Where new requests may go."""
        return [e for e in self.endpoints.values() if e.accepting]


@asynccontextmanager
async def watching(client: Client, name: str = "watcher", *, lets_go: bool = True) -> AsyncIterator[Watcher]:
    """A watcher that watches until the context is left."""
    watcher = Watcher(client, name, lets_go=lets_go)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(watcher.run())
        try:
            yield watcher
        finally:
            task.cancel()


@asynccontextmanager
async def harness(docker_host: str = "", *, reaps: bool = True) -> AsyncIterator[DeployHarness]:
    """A harness with its registry running; what is left of instances is reaped at the end, where there can be any."""
    base = Path(tempfile.mkdtemp(prefix="fnd-", dir="/tmp"))
    try:
        one = DeployHarness(base, docker_host)
        one.prepare()
        async with one.running_registry():
            try:
                yield one
            finally:
                one.kill()
                if reaps:
                    await reap(one.load_settings(), ())
    finally:
        await asyncio.to_thread(remove_tree, base)


def _tar(files: Mapping[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in sorted(files.items()):
            block = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(block), 0o644
            tar.addfile(info, io.BytesIO(block))
    return buffer.getvalue()


async def _once(block: bytes) -> AsyncIterator[bytes]:
    yield block
