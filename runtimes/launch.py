"""The command lines of the servers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runtimes.entrypoints import Runtime

EventFormat = Literal["v2", "body"]

_ENTRY_FILES: dict[Runtime, str] = {"python": "serve.py", "node": "serve.cjs"}


@dataclass(frozen=True)
class Launch:
    """What a server is told about the function it serves. Times in milliseconds, sizes in MiB and bytes.

    All of it is of the revision, none of the artifact: another limit needs no build.
    """

    file: str
    function: str
    revision: str
    handler: str = "handler"
    event_format: EventFormat = "v2"
    concurrency: int = 10
    timeout_ms: int = 30_000
    memory_mb: int = 256
    max_body_bytes: int = 1024 * 1024 * 1024  # the mesh's own limit is the one that counts


@dataclass(frozen=True)
class Placement:
    """Where a process workload finds things. Directories are absolute; `interpreter` is python's or node's
    path.

    `lib` holds the server's own packages (httptools) and is never visible to the user's code; `packages`
    holds the user's Python packages. With `site` the interpreter's own site-packages are visible to the
    user's code too: wanted in an image or a virtual environment of the function, never with the mesh's own
    interpreter.
    """

    interpreter: str
    server: Path
    app: Path
    lib: Path | None = None
    packages: Path | None = None
    site: bool = False


def arguments(launch: Launch) -> list[str]:
    """The part of a server's command line that tells of the function: the CMD of a container."""
    return [
        *("--file", launch.file),
        *("--handler", launch.handler),
        *("--event-format", launch.event_format),
        *("--function", launch.function),
        *("--revision", launch.revision),
        *("--concurrency", str(launch.concurrency)),
        *("--timeout-ms", str(launch.timeout_ms)),
        *("--memory-mb", str(launch.memory_mb)),
        *("--max-body-bytes", str(launch.max_body_bytes)),
    ]


def command(runtime: Runtime, place: Placement, listen: str, launch: Launch) -> list[str]:
    """The command line of a process workload; `listen` is `unix:/path` or `tcp:host:port`."""
    argv = [place.interpreter]
    if runtime == "python":
        argv += ["-I"] if place.site else ["-I", "-S"]
    argv += [str(place.server / _ENTRY_FILES[runtime]), "--listen", listen, "--app", str(place.app)]
    if place.lib is not None:
        argv += ["--lib", str(place.lib)]
    if place.packages is not None:
        argv += ["--packages", str(place.packages)]
    return argv + arguments(launch)
