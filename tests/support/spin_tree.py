"""A small Spin component as the artifact that a build makes of it, and the revision of a function that is it.

The component is that of tests/support/spin_probe: it does what a request's query says, `?verb:argument`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from fnmesh.registry.v1 import function_pb2
from runtimes.spin.application import SpinApp, write
from runtimes.spin.host import provider_digest
from tests.support.deploy_harness import Revision

PROBE = Path(__file__).parent / "spin_probe" / "probe.wasm"
APP = SpinApp(name="probe", component="probe", allowed_outbound_hosts=("http://127.0.0.1:*",))


@cache
def probe_wasm() -> bytes:
    """The component."""
    return PROBE.read_bytes()


def artifact_files(app: SpinApp = APP, wasm: bytes | None = None, **facts: Any) -> dict[str, str | bytes]:
    """What is in the artifact; without compiled code, unless `facts` and further files say otherwise."""
    content = probe_wasm() if wasm is None else wasm
    described = {
        "wasm_digest": f"sha256:{hashlib.sha256(content).hexdigest()}",
        "host": "",
        "host_version": "",
        "flags": [],
        "cwasm_sha256": "",
        "provider_digest": provider_digest(),
        "toolchain": {},
        "app": app.as_json(),
    }
    return {"app.wasm": content, "spin.toml": write(app), "artifact.json": json.dumps(described | facts)}


def spin_revision(app: SpinApp = APP, env: Mapping[str, str] | None = None, **fields: Any) -> Revision:
    """A revision of a function on the spin target."""
    made = Revision(
        artifact_files(app),
        dict(env or {}),
        runtime=function_pb2.RUNTIME_SPIN,
        target=function_pb2.TARGET_SPIN,
        entry_file="app.wasm",
        memory_bytes=64 << 20,
    )
    return replace(made, **fields)


async def ask(address: str, verb: str, headers: str = "") -> tuple[int, str]:
    """What the component at `host:port` answers to a verb; `headers` are whole lines."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(f"GET /api/probe?{verb} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    if not head:
        raise ConnectionResetError
    if b"transfer-encoding: chunked" in head:
        body = b"".join(body.split(b"\r\n")[1::2])
    return int(head[9:12]), body.decode()
