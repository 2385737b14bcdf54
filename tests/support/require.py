"""What a machine may lack: such a test is skipped, loudly and by name, or fails if FNMESH_REQUIRE says so.

FNMESH_REQUIRE=root,docker,postgres,node,buf,mount,prometheus,zsh,fish,registry,skopeo,wasmtime,provider_tools,helm,
compose,processor (CI sets it) holds names of CAPABILITIES.
"""

from __future__ import annotations

import os
import platform
import shutil
from typing import NoReturn

import pytest

from tests.support import (
    buf,
    compose,
    docker_host,
    docker_registry,
    helm,
    postgres,
    prometheus,
    small_disk,
    spin_tools,
    wasmtime_host,
)

CAPABILITIES = (
    "root", "docker", "postgres", "node", "buf", "mount", "prometheus", "zsh", "fish", "registry", "skopeo",
    "wasmtime", "provider_tools", "helm", "compose", "processor",
)  # fmt: skip
_PROCESSORS = ("x86_64", "aarch64")
_REASON = "cannot run here: "


def required() -> frozenset[str]:
    """The names in FNMESH_REQUIRE. Raises pytest.UsageError for one that is no capability."""
    names = frozenset(name.strip() for name in os.environ.get("FNMESH_REQUIRE", "").split(",") if name.strip())
    unknown = sorted(names - set(CAPABILITIES))
    if unknown:
        raise pytest.UsageError(f"FNMESH_REQUIRE names {unknown}; known are {', '.join(CAPABILITIES)}")
    return names


def need(capability: str) -> None:
    """Return if this machine has `capability`; else end the test as `missing` does."""
    why = why_missing(capability)
    if why is not None:
        missing(capability, why)


def missing(capability: str, why: str) -> NoReturn:
    """End the test: skipped, naming `capability` and `why`, or failed if FNMESH_REQUIRE names it."""
    if capability in required():
        pytest.fail(f"FNMESH_REQUIRE names {capability}, but {why}", pytrace=False)
    pytest.skip(f"{_REASON}{capability}: {why}")


def why_missing(capability: str) -> str | None:
    """What this machine lacks for `capability`, or None; asks nothing of the network and starts nothing."""
    match capability:
        case "root":
            return None if os.geteuid() == 0 else "the tests do not run as root"
        case "docker":
            return docker_host.why_missing()
        case "postgres":
            return postgres.why_not_here()
        case "node":
            absent = [name for name in ("node", "npm") if shutil.which(name) is None]
            return f"{' and '.join(absent)} not found on PATH" if absent else None
        case "buf":
            return buf.why_missing()
        case "provider_tools":
            return spin_tools.why_missing()
        case "compose":
            return compose.why_missing()
        case "helm":
            return helm.why_missing()
        case "wasmtime":
            return wasmtime_host.why_missing()
        case "processor":
            here = platform.machine()
            return None if here in _PROCESSORS else f"this machine's is {here}, and not {' or '.join(_PROCESSORS)}"
        case "mount":
            return small_disk.why_missing()
        case "prometheus":
            return prometheus.why_missing()
        case "registry":
            return docker_registry.why_missing()
        case "zsh" | "fish" | "skopeo":
            return None if shutil.which(capability) else f"{capability} not found on PATH"
    raise ValueError(f"{capability} is not one of {CAPABILITIES}")


def reason_in(skip_text: str) -> str | None:
    """The "capability: why" of a skip made by `missing`; None for any other skip."""
    _, found, reason = skip_text.partition(_REASON)
    return reason if found else None
