"""A mesh of its own for measuring: `fnmesh up` on a free port, in directories that end with it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.children import ending, free_port


@dataclass(frozen=True, slots=True)
class Place:
    """Where a mesh answers (`host:port`) and keeps its files, and the environment that says so."""

    address: str
    root: Path
    environment: Mapping[str, str]

    @contextmanager
    def up(self) -> Iterator[RunningMesh]:
        """Runs `fnmesh up` here, for as long as the context lasts, from its ready line on."""
        command = [fnmesh_command(), "up", "--listen", self.address]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(self.environment))
        with ending(process):
            assert process.stdout is not None
            ready = process.stdout.readline()
            if "ready" not in ready:
                sys.exit(f"The mesh did not start: {ready.strip() or 'it said nothing'}.")
            yield RunningMesh(self, process.pid)


@dataclass(frozen=True, slots=True)
class RunningMesh:
    """A mesh, and its `up` process."""

    place: Place
    pid: int

    @property
    def address(self) -> str:
        return self.place.address

    def fnmesh(self, *arguments: str) -> Any:
        """Runs `fnmesh ... --json` against this mesh and returns what it printed; SystemExit where it fails."""
        command = [fnmesh_command(), *arguments, "--json", "--server", self.address]
        environment = dict(self.place.environment)
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            sys.exit(f"`fnmesh {' '.join(arguments)}` failed: {done.stderr.strip()}")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def ready_instance(self, function: str) -> dict[str, str]:
        """The one instance of a function that answers, as `fnmesh show` tells of it."""
        deployment = self.fnmesh("show", function)["deployment"]
        (instance,) = [i for i in deployment["instances"] if i["state"] == "INSTANCE_STATE_READY"]
        found: dict[str, str] = instance
        return found

    def workload_address(self, function: str) -> str:
        """`unix:/path` of the one instance of a function on the process target."""
        return f"unix:{self.place.root}/run/i/{self.ready_instance(function)['uid']}/s"

    def lacks_target(self, target: str) -> str:
        """Why functions cannot be deployed to that target; empty where they can."""
        for found in self.fnmesh("doctor")["findings"]:
            if found["what"] == f"target: {target}":
                return "" if found["state"] == "ok" else str(found["detail"])
        return "this mesh does not know the target"

    def processes(self) -> dict[str, int]:
        """The process of `up`, of each service and of Envoy, by name; workloads apart."""
        found = {"up": self.pid}
        for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split():
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            module = words[words.index("-m") + 1] if "-m" in words else "envoy"
            found[module.removesuffix("_svc")] = int(pid)
        return found


def fnmesh_command() -> str:
    """The `fnmesh` beside the interpreter that runs this."""
    return str(Path(sys.executable).with_name("fnmesh"))


@contextmanager
def mesh_place(settings: Mapping[str, str] | None = None) -> Iterator[Place]:
    """Directories and a port for a mesh; what is in the directories goes with the context."""
    root = Path(tempfile.mkdtemp(prefix="fnm-bench-", dir="/tmp"))
    root.chmod(0o711)
    environment = {
        **os.environ,
        "FNMESH_DATA_DIR": str(root / "data"),
        "FNMESH_RUN_DIR": str(root / "run"),
        **(settings or {}),
    }
    try:
        yield Place(f"127.0.0.1:{free_port()}", root, environment)
    finally:
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def running_mesh(settings: Mapping[str, str] | None = None) -> Iterator[RunningMesh]:
    """Starts a mesh, waits until it is ready, and ends it with all it started."""
    with mesh_place(settings) as place, place.up() as mesh:
        yield mesh
