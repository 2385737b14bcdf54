"""How much is tried: by default a short run, always the same; with FNMESH_FUZZ=long (`make fuzz`) a long random one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from hypothesis import HealthCheck, settings

from tests.support.door import Door, open_door

_SLOW = (HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large)
settings.register_profile("fuzz", max_examples=50, deadline=None, derandomize=True, suppress_health_check=_SLOW)
settings.register_profile("fuzz-long", max_examples=3000, deadline=None, print_blob=True, suppress_health_check=_SLOW)
FUZZ = settings.get_profile("fuzz-long" if os.environ.get("FNMESH_FUZZ") == "long" else "fuzz")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_door() -> AsyncIterator[Door]:
    """A gateway and a real Envoy, for all examples."""
    run_dir = Path(tempfile.mkdtemp(prefix="fnm-", dir="/tmp"))
    try:
        async with open_door(run_dir) as door:
            yield door
    finally:
        shutil.rmtree(run_dir, ignore_errors=True)
