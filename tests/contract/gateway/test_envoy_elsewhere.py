"""Gateway and Envoy that share no directory: they meet by names and ports, and Envoy says how it is by one more."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from gateway.envoy import admin
from tests.support.door import Answer, Door, environment_of, listening, open_door
from tests.support.eventually import eventually
from tests.support.ports import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def far_door() -> AsyncIterator[Door]:
    run_dir = Path(tempfile.mkdtemp(prefix="fnm-", dir="/tmp"))
    grpc_port, rest_port, stats_port = free_port(), free_port(), free_port()
    try:
        async with open_door(
            run_dir,
            gateway_address=f"dns:///localhost:{grpc_port}",
            listen_address=f"127.0.0.1:{grpc_port}",
            gateway_rest_address=f"dns:///localhost:{rest_port}",
            gateway_rest_listen=f"127.0.0.1:{rest_port}",
            gateway_stats_listen=f"127.0.0.1:{stats_port}",
        ) as door:
            yield door
    finally:
        shutil.rmtree(run_dir, ignore_errors=True)


def stats_url(door: Door) -> str:
    return f"http://{door.settings.gateway_stats_listen}"


async def test_requests_pass_and_the_rest_facade_answers(far_door: Door) -> None:
    async with far_door.client() as client:
        assert (await client.get("/api/hello")).text == "ok"

        async def whole() -> bool:
            return (await client.get("/health")).status_code == 200

        await eventually(whole)


async def test_envoy_says_how_it_is(far_door: Door) -> None:
    async with httpx.AsyncClient(base_url=stats_url(far_door), trust_env=False) as client:
        ready = await client.get("/ready")
        metrics = await client.get("/stats/prometheus?usedonly")

    assert (ready.status_code, ready.text) == (200, "LIVE\n")
    assert 'envoy_cluster_membership_healthy{envoy_cluster_name="invoke"}' in metrics.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/ready"),
        ("POST", "/quitquitquit"),
        ("GET", "/config_dump"),
        ("GET", "/stats"),
        ("GET", "/stats/prometheus/"),
        ("GET", "/ready/../config_dump"),
        ("GET", "/%72eady"),
        ("GET", "/"),
    ],
)
async def test_and_nothing_else(far_door: Door, method: str, path: str) -> None:
    host, _, port = far_door.settings.gateway_stats_listen.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()

    assert answer.startswith(b"HTTP/1.1 404 ")


async def test_a_stop_lets_requests_end(far_door: Door) -> None:
    """An Envoy of its own, as in a container: SIGTERM while one request is under way and another one comes."""
    place = far_door.run_dir / "second"
    place.mkdir()
    socket = place / "envoy-admin.sock"
    settings = far_door.settings.model_copy(update={"gateway_admin_socket": socket})
    bootstrap = place / "envoy.pb"
    maker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "bootstrap", "--out", bootstrap,
        env=environment_of(settings) | {"FNMESH_GATEWAY_ADMIN_SOCKET": str(socket)},
    )  # fmt: skip
    assert await maker.wait() == 0
    command = ["--bootstrap", str(bootstrap), "--settle-s", "0.5", "--drain-s", "30", "--wait-s", "10"]
    with (place / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway.envoy", *command, stdout=log, stderr=log
        )
    try:
        host, port = await listening(settings)
        goes_on = asyncio.Event()

        async def wait() -> None:
            await goes_on.wait()

        far_door.invoke.respond = lambda seen: Answer(chunks=(b"be", b"gun"), between=wait)
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}", trust_env=False, timeout=60) as client:
            slow = asyncio.ensure_future(client.get("/api/slow"))
            await eventually(lambda: far_door.invoke.active == 1)
            process.send_signal(signal.SIGTERM)
            far_door.invoke.respond = lambda seen: Answer()

            async def asked_to_go() -> bool:
                async with httpx.AsyncClient(trust_env=False) as other:
                    answer = await other.get(f"http://{host}:{port}/api/late")
                return answer.status_code == 200 and answer.headers.get("connection") == "close"

            await eventually(asked_to_go)
            assert await admin.active_requests(socket) == 1
            goes_on.set()
            assert (await slow).text == "begun"
        assert await asyncio.wait_for(process.wait(), 60) == 0
    finally:
        far_door.invoke.respond = lambda seen: Answer()
        if process.returncode is None:
            process.kill()
            await process.wait()
