"""The gateway and Envoy as processes, as `fnmesh up` starts them."""

from __future__ import annotations

import asyncio
import signal
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from mesh.auth import ServiceToken
from mesh.membership import joined
from tests.support.door import (
    TOKEN,
    Echo,
    FakeInvoke,
    environment_of,
    fake_service,
    gateway_settings,
    listening,
    running_envoy,
)
from tests.support.eventually import eventually


@asynccontextmanager
async def gateway_process(environ: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", env=environ, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_the_whole_as_processes(tmp_run_dir: Path) -> None:
    settings = gateway_settings(tmp_run_dir)
    token = ServiceToken(TOKEN)
    async with (
        gateway_process(environment_of(settings)) as gateway,
        running_envoy(settings) as envoy,
        fake_service(f"unix:{tmp_run_dir}/m/all.sock", invoke=FakeInvoke(), echo=Echo("all")) as address,
        joined(settings.gateway_address, "registry", address, token=token),
        joined(settings.gateway_address, "build", address, token=token),
        joined(settings.gateway_address, "deploy", address, token=token),
        joined(settings.gateway_address, "invoke", address, token=token),
    ):
        host, port = await listening(settings)
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}", trust_env=False) as client:
            assert (await client.get("/api/hello")).text == "ok"

            async def well() -> bool:
                return (await client.get("/health")).status_code == 200

            await eventually(well)
        sockets = [path for path in (tmp_run_dir / "m").iterdir() if path.is_socket()]
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in sockets}
        assert {modes[name] for name in ("gateway.sock", "gateway-rest.sock", "envoy-admin.sock")} == {0o600}
        assert stat.S_IMODE((tmp_run_dir / "bootstrap.pb").stat().st_mode) == 0o600
        gateway.send_signal(signal.SIGTERM)
        async with asyncio.timeout(15):
            _, log = await gateway.communicate()
        assert gateway.returncode == 0, log.decode()
        assert TOKEN not in log.decode()
        envoy.terminate()
        assert await envoy.wait() == 0


async def test_a_wrong_setting_is_one_sentence(tmp_run_dir: Path) -> None:
    settings = gateway_settings(tmp_run_dir)
    environ = environment_of(settings) | {"FNMESH_GATEWAY_LISTEN": "0.0.0.0:8080"}
    async with gateway_process(environ) as gateway:
        async with asyncio.timeout(30):
            _, log = await gateway.communicate()
    assert gateway.returncode == 2
    assert log.decode().startswith("fnmesh gateway: FNMESH_GATEWAY_LISTEN=0.0.0.0:8080 can be reached")
    assert len(log.decode().strip().splitlines()) == 1
