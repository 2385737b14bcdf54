"""The lane without invoke_svc: a gateway, Envoy with the very configuration of the mesh, and a servicer that only
forwards. What the lane costs beyond it is what invoke_svc does."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.children import ending, free_port
from benchmarks.probe import first_200


@contextmanager
def bare_lane(directory: Path, workload: str, path: str) -> Iterator[str]:
    """Runs it in front of `workload` (`unix:/path`); yields the `host:port` where `path` answers."""
    (directory / "m").mkdir(parents=True)
    (directory / "token").write_text(secrets.token_urlsafe(32))
    address = f"127.0.0.1:{free_port()}"
    bootstrap = str(directory / "m" / "envoy.pb")
    environment = {
        **os.environ,
        "GRPC_ENABLE_FORK_SUPPORT": "0",
        "FNMESH_DATA_DIR": str(directory),
        "FNMESH_RUN_DIR": str(directory),
        "FNMESH_GATEWAY_LISTEN": address,
        "FNMESH_GATEWAY_HOLD_S": "0",
    }
    servicer = ("--run-dir", str(directory), "--workload", workload)
    with ExitStack() as stack:
        log = stack.enter_context((directory / "log").open("w"))

        def start(module: str, *arguments: str) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-m", module, *arguments]
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log)

        if start("gateway", "bootstrap", "--out", bootstrap).wait(60):
            sys.exit(f"The bare lane's Envoy could not be configured; see {directory}/log.")
        for command in (
            ("gateway",),
            ("benchmarks.bare_servicer", *servicer),
            ("gateway.envoy", "--bootstrap", bootstrap),
        ):
            stack.enter_context(ending(start(*command)))
        first_200(address, path)
        yield address
