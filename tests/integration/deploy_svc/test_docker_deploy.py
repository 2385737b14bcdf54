"""Real containers under deploy_svc: deployed, rolled, adopted, and removed when nobody knows them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator

import docker
import pytest

from fnmesh.registry.v1 import function_pb2 as f
from tests.support import function_image
from tests.support.deploy_harness import DeployHarness, Revision, harness
from tests.support.eventually import eventually

pytestmark = pytest.mark.docker
UID = "fn-abcdefghijkl"
CODE = "def handler(event):\n    print('called')\n    return 'from a container'\n"


@pytest.fixture(scope="module")
def image(docker_host: str, docker_python_image: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    scratch = tmp_path_factory.mktemp("server")
    return function_image.build(docker_host, docker_python_image, {"handler.py": CODE}, scratch)


@pytest.fixture
async def mesh(docker_host: str) -> AsyncIterator[DeployHarness]:
    async with harness(docker_host) as one:
        yield one


def containers(docker_host: str, mesh: DeployHarness) -> list[str]:
    client = docker.DockerClient(base_url=docker_host)
    try:
        label = f"fnmesh.mesh={(mesh.data / 'mesh_id').read_text()}"
        return [c.name for c in client.containers.list(all=True, filters={"label": label}, ignore_removed=True)]
    finally:
        client.close()


async def test_containers_are_rolled_adopted_and_removed(mesh: DeployHarness, docker_host: str, image: str) -> None:
    mesh.spawn()
    async with mesh.client() as client:

        async def up(revision: int) -> str | None:
            try:
                now = await client.deployment(UID)
            except Exception:
                return None
            ready = [i for i in now.instances if i.state == 2 and i.revision == revision]
            return ready[0].uid if now.state == f.DEPLOYMENT_STATE_READY and ready else None

        await mesh.want(UID, 1, Revision(target=f.TARGET_DOCKER, image=image))
        first = await eventually(lambda: up(1), 90)
        mesh.kill(signal.SIGKILL)
        orphan = await asyncio.to_thread(leave_an_orphan, docker_host, mesh, image)
        mesh.spawn()
        assert await eventually(lambda: up(1), 90) == first

        async def only_first() -> bool:
            return await asyncio.to_thread(containers, docker_host, mesh) == [f"fnmesh-{first}"]

        await eventually(only_first, 60)
        assert orphan
        await mesh.want(UID, 2, Revision(target=f.TARGET_DOCKER, image=image))
        second = await eventually(lambda: up(2), 90)

        async def only_second() -> bool:
            return await asyncio.to_thread(containers, docker_host, mesh) == [f"fnmesh-{second}"]

        await eventually(only_second, 60)
        await mesh.want(UID, 2, deleted=True)
        await eventually(lambda: mesh.registry.deleted == [UID], 90)
        assert await asyncio.to_thread(containers, docker_host, mesh) == []


def leave_an_orphan(docker_host: str, mesh: DeployHarness, image: str) -> str:
    client = docker.DockerClient(base_url=docker_host)
    try:
        labels = {"fnmesh.mesh": (mesh.data / "mesh_id").read_text(), "fnmesh.instance": "in-orphanorphan"}
        return str(
            client.containers.create(image, ["--file", "handler.py"], labels=labels, name="fnmesh-in-orphanorphan").id
        )
    finally:
        client.close()


async def test_limits_and_isolation_take_effect(mesh: DeployHarness, docker_host: str, image: str) -> None:
    async with mesh.here(), mesh.client() as client:
        await mesh.want(UID, 1, Revision(target=f.TARGET_DOCKER, image=image, env={"PASSWORD": "hunter2"}))
        ready = await client.until(UID, f.DEPLOYMENT_STATE_READY, 1, 90)
        api = docker.APIClient(base_url=docker_host)
        try:
            found = await asyncio.to_thread(api.inspect_container, ready.instances[0].handle)
            network = await asyncio.to_thread(api.inspect_network, next(iter(found["NetworkSettings"]["Networks"])))
        finally:
            api.close()
        host = found["HostConfig"]
        assert host["Memory"] == host["MemorySwap"] == 256 << 20 and host["NanoCpus"] == 10**9
        assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and host["Init"] and host["PidsLimit"] > 0
        assert host["SecurityOpt"] == ["no-new-privileges"] and found["Config"]["User"] == "65532:65532"
        assert host["PortBindings"]["8080/tcp"][0]["HostIp"] == "127.0.0.1"
        assert network["Options"]["com.docker.network.bridge.enable_icc"] == "false"
        assert "hunter2" not in str(found["Config"]["Labels"])
