"""The registry as a process: starts, migrates, drains, says in one sentence why it cannot start."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mesh.clock import FakeClock
from mesh.main import StartupError
from mesh.rpc_client import open_channel
from mesh.secrets_key import load_cipher
from registry_svc.app import running
from registry_svc.settings import RegistrySettings
from tests.support.eventually import eventually

ROOT = Path(__file__).parents[3]


@pytest.fixture
def environ(tmp_path: Path, tmp_run_dir: Path) -> dict[str, str]:
    (tmp_run_dir / "token").write_text("t" * 40)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FNMESH_")}
    return kept | {
        "FNMESH_DATA_DIR": str(tmp_path / "data"),
        "FNMESH_RUN_DIR": str(tmp_run_dir),
        "FNMESH_TRACE_RATE": "0",
        "FNMESH_TRACE_SHARE": "0",
    }


async def start(environ: dict[str, str], *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "registry_svc", *arguments),
        env=environ,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@pytest.fixture
async def ended() -> AsyncIterator[list[Any]]:
    processes: list[Any] = []
    yield processes
    for process in processes:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_it_serves_until_it_is_told_to_stop(environ: dict[str, str], tmp_run_dir: Path, ended: list[Any]) -> None:
    process = await start(environ)
    ended.append(process)
    async with open_channel(f"unix:{tmp_run_dir}/m/registry.sock") as channel:
        stub = health_pb2_grpc.HealthStub(channel)

        async def serving() -> bool:
            # as long as `eventually` goes on: where this limit passes, it is no AssertionError
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=30, wait_for_ready=True)
            return answer.status == health_pb2.HealthCheckResponse.SERVING

        await eventually(serving, 30)
    process.send_signal(signal.SIGTERM)
    _, errors = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0
    events = [json.loads(line)["event"] for line in errors.decode().splitlines()]
    assert events[-3:] == ["service_ready", "service_draining", "service_stopped"]


async def test_subcommands(environ: dict[str, str], tmp_path: Path) -> None:
    for _ in range(2):
        process = await start(environ, "migrate")
        assert (await process.communicate())[0] == b"" and process.returncode == 0
    assert (tmp_path / "data/db/registry.db").exists()
    process = await start(environ, "create-admin-key", "--name", "first")
    printed, _ = await process.communicate()
    assert process.returncode == 0 and len(printed.strip()) == 44


async def test_what_is_wrong_is_said_in_one_sentence(environ: dict[str, str], tmp_run_dir: Path) -> None:
    for wrong, word, code in (
        ({"FNMESH_REGISTRY_POL_INTERVAL_S": "1"}, "FNMESH_REGISTRY_POLL_INTERVAL_S", 2),
        ({"FNMESH_AUTH": "maybe"}, "FNMESH_AUTH", 2),
        ({"FNMESH_TOKEN_FILE": "/nowhere"}, "service token", 2),
        ({"FNMESH_DATABASE_URL": "mysql://x/y"}, "neither sqlite nor postgresql", 1),
    ):
        process = await start(environ | wrong)
        _, errors = await process.communicate()
        lines = errors.decode().splitlines()
        assert process.returncode == code, lines
        assert word in lines[-1] and lines[-1].startswith("fnmesh registry: ")
        assert "Traceback" not in errors.decode()


async def test_the_wrong_secrets_key_is_noticed_at_once(
    settings: RegistrySettings, clock: FakeClock, connect_registry: Any
) -> None:
    async with AsyncExitStack() as stack:
        registry = await connect_registry(stack, settings, clock)
        await registry.create(env={"A": "1"})
    settings.registry_secrets_key_file.unlink()
    with pytest.raises(StartupError, match="is not the key"):
        async with running(settings, join=False):
            pass
    settings.registry_secrets_key_file.chmod(0o644)
    with pytest.raises(StartupError, match="read by others"):
        load_cipher(settings.registry_secrets_key_file)
