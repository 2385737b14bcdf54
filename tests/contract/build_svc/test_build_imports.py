"""What an idle builder has loaded: not what only pushes and pulls need."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from tests.contract.build_svc.build_world import World

_ROOT = Path(__file__).parents[3]
_LARGE = {"httpx", "cryptography", "rich", "componentize_py"}
_IDLE = """
import asyncio, sys
from build_svc.app import running
from build_svc.settings import BuildSettings

async def main():
    async with running(BuildSettings.load()):
        print(*sys.modules)

asyncio.run(main())
"""


async def test_an_idle_builder_has_not_loaded_what_only_pushes_need(world: World, tmp_path: Path) -> None:
    environ = world.environ | {
        "FNMESH_DATA_DIR": str(tmp_path / "another"),
        "FNMESH_BUILD_WORK_DIR": str(tmp_path / "work"),
        "FNMESH_BUILD_ADDRESS": "127.0.0.1:0",
        "PYTHONPATH": os.pathsep.join(str(_ROOT / name) for name in (".", "protos", "client")),
    }
    arguments = [sys.executable, "-c", _IDLE]
    done = await asyncio.to_thread(
        subprocess.run, arguments, cwd=tmp_path, env=world.surroundings | environ, stdout=subprocess.PIPE, timeout=90
    )

    assert done.returncode == 0
    loaded = set(done.stdout.decode().split())
    assert {"build_svc.publishing", "build_svc.spin_pull", "build_svc.oci.client"} <= loaded
    assert not loaded & _LARGE
