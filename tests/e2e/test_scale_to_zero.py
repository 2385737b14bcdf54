"""Functions without requests have no instance, and the next request starts one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.support import processes
from tests.support.eventually import eventually_sync
from tests.support.running_mesh import RunningMesh

pytestmark = pytest.mark.timeout(300)
CODE = """
import asyncio, os

async def handler(event):
    await asyncio.sleep(float((event.get("queryStringParameters") or {}).get("s", "0")))
    return str(os.getpid())
"""


@pytest.fixture(scope="module")
def name(mesh: RunningMesh, tmp_path_factory: pytest.TempPathFactory) -> str:
    source = tmp_path_factory.mktemp("resting") / "handler.py"
    source.write_text(CODE)
    mesh.cli("deploy", str(source), "--name", "resting", "--min-instances", "0", "--idle-ttl", "3s")
    return "resting"


def live(mesh: RunningMesh, name: str) -> list[int]:
    return [
        int(one["handle"]) for one in mesh.cli_json("show", name)["deployment"]["instances"]
        if one["state"] in ("INSTANCE_STATE_STARTING", "INSTANCE_STATE_READY", "INSTANCE_STATE_DRAINING")
    ]  # fmt: skip


def test_it_rests_and_wakes(mesh: RunningMesh, http: httpx.Client, name: str) -> None:
    first = http.get(f"/api/{name}")
    assert first.status_code == 200
    eventually_sync(lambda: not live(mesh, name))
    shown = mesh.cli_json("show", name)
    assert shown["deployment"]["state"] == "DEPLOYMENT_STATE_READY"
    assert shown["deployment"]["message"] == "Scaled to zero: the next request starts an instance."
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: http.get(f"/api/{name}"), range(8)))
    assert [one.status_code for one in answers] == [200] * 8
    pids = {one.text for one in answers}
    assert len(pids) == 1 and first.text not in pids


def test_a_long_request_is_use(mesh: RunningMesh, http: httpx.Client, name: str) -> None:
    assert http.get(f"/api/{name}", params={"s": "6"}).status_code == 200


def test_it_rests_on_when_deploy_svc_is_killed_and_wakes_still(
    mesh: RunningMesh, http: httpx.Client, name: str
) -> None:
    eventually_sync(lambda: not live(mesh, name))
    killed = mesh.service_pid("deploy")
    processes.kill(killed)
    answer = http.get(f"/api/{name}", timeout=90)  # waits for deploy_svc, and then for the instance
    assert answer.status_code == 200
    eventually_sync(lambda: not live(mesh, name))
    assert http.get(f"/api/{name}").status_code == 200
