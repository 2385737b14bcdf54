"""invoke_svc as it is (tests/support/invoke_mesh.py), for each test its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fnmesh.internal.registry.v1 import registry_internal_service_pb2 as registry_pb
from fnmesh.registry.v1 import api_key_pb2
from tests.support.invoke_mesh import RESET, TRACE, Answer, Mesh, finished, head, mesh_running
from tests.support.scripted_workload import always, says

__all__ = ["RESET", "TRACE", "Answer", "always", "finished", "head", "says"]  # for the tests, by way of `kit`


@pytest.fixture
async def mesh(tmp_run_dir: Path) -> AsyncIterator[Mesh]:
    async with mesh_running(tmp_run_dir) as running:
        yield running


@pytest.fixture
def invoke_key() -> registry_pb.VerifyApiKeyResponse:
    return registry_pb.VerifyApiKeyResponse(key_id="k1", scopes=[api_key_pb2.SCOPE_INVOKE])


@pytest.fixture
def kit() -> Any:
    """The names of this file, for tests: `kit.says(...)`."""
    import sys

    return sys.modules[__name__]
