"""Scripts in real containers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import docker
import pytest

from fnmesh.internal.deploy.v1 import script_service_pb2_grpc as pb_grpc
from mesh.errors import FailedPrecondition
from mesh.rpc_client import open_channel
from tests.support.deploy_harness import DeployHarness, harness
from tests.support.eventually import eventually
from tests.support.scripts import Ran, order, run_script

pytestmark = pytest.mark.docker
HANGS = "import time\nprint('up', flush=True)\ntime.sleep(600)\n"


@pytest.fixture
async def mesh(docker_host: str, docker_python_image: str) -> AsyncIterator[DeployHarness]:
    async with harness(docker_host) as one:
        one.settings["FNMESH_DEPLOY_SCRIPT_PYTHON_IMAGE"] = docker_python_image
        one.settings["FNMESH_DEPLOY_SCRIPT_NODE_IMAGE"] = "fnmesh.test/not-there:1"
        yield one


def containers(docker_host: str, mesh: DeployHarness) -> list[str]:
    client = docker.DockerClient(base_url=docker_host)
    try:
        label = f"fnmesh.mesh={(mesh.data / 'mesh_id').read_text()}"
        return [c.name for c in client.containers.list(all=True, filters={"label": label}, ignore_removed=True)]
    finally:
        client.close()


async def test_scripts_in_containers(mesh: DeployHarness, docker_host: str) -> None:
    code = """
import json, os, sys
print(json.dumps([json.load(sys.stdin), os.environ["FNMESH_EVENT"], os.getuid() > 0, os.getcwd()]))
print("aside", file=sys.stderr)
sys.exit(5)
"""
    async with mesh.here():
        ran = await run_script(mesh, order(code, target="docker", event=b'{"n": 1}'))
        assert json.loads(ran.stdout[0]) == [{"n": 1}, '{"n": 1}', True, "/tmp"]
        assert (ran.stderr, ran.exited.code) == (["aside"], 5)
        assert containers(docker_host, mesh) == []

        late = await run_script(mesh, order(HANGS, run="job-2", target="docker", timeout_s=2))
        assert late.exited.timed_out
        assert containers(docker_host, mesh) == []

        ran = Ran()
        async with open_channel(mesh.load_settings().deploy_address, token=mesh.token) as channel:
            call = pb_grpc.ScriptServiceStub(channel).RunScript(order(HANGS, run="job-3", target="docker"))
            async for message in call:
                ran.take(message)
                if ran.stdout:
                    break
            assert len(containers(docker_host, mesh)) == 1
            call.cancel()
        await eventually(lambda: containers(docker_host, mesh) == [])

        with pytest.raises(FailedPrecondition, match="FNMESH_DEPLOY_SCRIPT_NODE_IMAGE"):
            await run_script(mesh, order("1", run="job-4", target="docker", language="node"))


async def test_a_killed_deploy_svc_leaves_no_container(mesh: DeployHarness, docker_host: str) -> None:
    mesh.spawn()
    await eventually(lambda: (mesh.run / "m/deploy.sock").exists(), 20)
    ran = Ran()
    async with open_channel(mesh.load_settings().deploy_address, token=mesh.token) as channel:
        call = pb_grpc.ScriptServiceStub(channel).RunScript(order(HANGS, target="docker"))
        async for message in call:
            ran.take(message)
            if ran.stdout:
                break
        mesh.kill()
    assert len(containers(docker_host, mesh)) == 1
    mesh.spawn()
    await eventually(lambda: containers(docker_host, mesh) == [], 20)
