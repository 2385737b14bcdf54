"""A mesh of its own for measuring: `fnmesh up` on a free port, in directories that end with it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bare_envoy import free_port

READY_DEADLINE_S = 90


@dataclass(frozen=True, slots=True)
class RunningMesh:
    """Where a mesh answers (`host:port`) and keeps its files."""

    address: str
    data_dir: Path
    run_dir: Path
    environment: Mapping[str, str]

    def fnmesh(self, *arguments: str) -> Any:
        """Runs `fnmesh ... --json` against this mesh and returns what it printed; raises CalledProcessError."""
        command = [fnmesh_command(), *arguments, "--json", "--server", self.address]
        done = subprocess.run(command, capture_output=True, text=True, env=dict(self.environment), check=False)
        if done.returncode:
            sys.exit(f"`fnmesh {' '.join(arguments)}` failed: {done.stderr.strip()}")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def workload_address(self, function: str) -> str:
        """`unix:/path` of the one instance of a function on the process target."""
        deployment = self.fnmesh("show", function)["deployment"]
        (instance,) = [i for i in deployment["instances"] if i["state"] == "INSTANCE_STATE_READY"]
        return f"unix:{self.run_dir}/i/{instance['uid']}/s"


def fnmesh_command() -> str:
    """The `fnmesh` beside the interpreter that runs this."""
    return str(Path(sys.executable).with_name("fnmesh"))


@contextmanager
def running_mesh(settings: Mapping[str, str] | None = None) -> Iterator[RunningMesh]:
    """Starts a mesh, waits until it is ready, and ends it with all it started."""
    root = Path(tempfile.mkdtemp(prefix="fnm-bench-", dir="/tmp"))
    root.chmod(0o711)
    address = f"127.0.0.1:{free_port()}"
    environment = {
        **os.environ,
        "FNMESH_DATA_DIR": str(root / "data"),
        "FNMESH_RUN_DIR": str(root / "run"),
        **(settings or {}),
    }
    process = subprocess.Popen(
        [fnmesh_command(), "up", "--listen", address], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert process.stdout is not None
        ready = process.stdout.readline()
        if "ready" not in ready:
            sys.exit(f"The mesh did not start: {ready.strip() or 'it said nothing'}.")
        yield RunningMesh(address, root / "data", root / "run", environment)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(root, ignore_errors=True)
