"""One gateway and one real Envoy for each module of tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.support.door import Answer, Door, open_door


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_door() -> AsyncIterator[Door]:
    run_dir = Path(tempfile.mkdtemp(prefix="fnm-", dir="/tmp"))
    try:
        async with open_door(run_dir) as door:
            yield door
    finally:
        shutil.rmtree(run_dir, ignore_errors=True)


@pytest_asyncio.fixture(loop_scope="module")
async def door(shared_door: Door) -> Door:
    """The module's door, with nothing left of the test before."""
    shared_door.invoke.seen.clear()
    shared_door.invoke.respond = lambda seen: Answer()
    for echo in shared_door.echoes.values():
        echo.calls.clear()
    return shared_door
