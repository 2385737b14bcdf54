"""The REST facade is what its OpenAPI document says: schemathesis finds nothing.

By default a short run, always the same; with FNMESH_FUZZ=long (`make fuzz`) a long random one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.running_mesh import ROOT, RunningMesh

_LONG = os.environ.get("FNMESH_FUZZ") == "long"
_EXAMPLES = ["--max-examples", "300"] if _LONG else ["--max-examples", "10", "--seed", "3"]
_TIMEOUT_S = 6000 if _LONG else 560


@pytest.fixture
def filled_mesh() -> Iterator[RunningMesh]:
    """A mesh that may be filled with what schemathesis makes up."""
    # What it makes up as images is looked for at no registry: the proxy to them is not there.
    nowhere = "http://127.0.0.1:9"
    running = RunningMesh(environ={"HTTPS_PROXY": nowhere, "HTTP_PROXY": nowhere, "NO_PROXY": "127.0.0.1"})
    try:
        yield running.start()
    finally:
        running.remove()


@pytest.mark.timeout(_TIMEOUT_S + 40)
def test_schemathesis_finds_nothing(filled_mesh: RunningMesh, tmp_path: Path) -> None:
    # It asks with QUERY, which Envoy itself refuses with 400; test_rest_documents.py asks with the other methods.
    program = Path(sys.executable).with_name("st")
    done = subprocess.run(
        [program, "run", f"{filled_mesh.url}/openapi.json", "--exclude-checks", "unsupported_method", "--no-color",
         "--request-timeout", "60", "--phases", "examples,coverage,fuzzing,stateful", *_EXAMPLES],
        cwd=ROOT, env={**filled_mesh.environ, "HOME": str(tmp_path)}, capture_output=True, text=True, check=False,
        timeout=_TIMEOUT_S,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-8000:]
