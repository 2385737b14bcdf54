"""The artifact of a component: a tar with the component as it was made, what the host compiled, and what is known.

app.wasm       the component, unchanged
app.cwasm      compiled ahead of time; not there for a host that compiles itself
spin.toml      the author's, or the one that was written for a single file
artifact.json  `Description`
files/         what the component may read, where it sees it
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from build_svc import tree
from build_svc.domain import BuildFailed
from build_svc.spin.compiling import Compiled, Component
from runtimes.spin.host import COMPILE_FLAGS, Host, provider_digest
from runtimes.spin.manifest import FILE, Mount, SpinApp

_FILES_MAX = 20_000


@dataclass(frozen=True)
class Parts:
    """What goes into an artifact. `manifest` is the text of spin.toml."""

    app: SpinApp
    manifest: bytes
    component: Component
    compiled: Compiled | None
    host: Host | None
    toolchain: Mapping[str, str]


def describe(parts: Parts) -> dict[str, object]:
    """artifact.json. `host` is empty where nothing was compiled."""
    host = parts.host if parts.compiled else None
    return {
        "wasm_digest": parts.component.digest,
        "host": host.kind if host else "",
        "host_version": host.version if host else "",
        "flags": list(COMPILE_FLAGS) if host else [],
        "cwasm_sha256": parts.compiled.sha256 if parts.compiled else "",
        "provider_digest": provider_digest(),
        "toolchain": dict(parts.toolchain),
        "app": parts.app.as_json(),
    }


def pack(parts: Parts, source: Path, scratch: Path, out: BinaryIO, *, comment: str) -> int:
    """Write the tar; returns the size of its files in bytes. Raises BuildFailed."""
    place = scratch / "artifact"
    place.mkdir(mode=0o755)
    (place / FILE).write_bytes(parts.manifest)
    (place / "artifact.json").write_text(json.dumps(describe(parts), indent=1, sort_keys=True) + "\n")
    packed = {
        "app.wasm": parts.component.path,
        FILE: place / FILE,
        "artifact.json": place / "artifact.json",
    }
    if parts.compiled is not None:
        packed["app.cwasm"] = parts.compiled.path
    if parts.app.files:
        lay_out_files(parts.app, source, place / "files")
        packed["files"] = place / "files"
    return tree.pack(packed, out, comment=comment)


def lay_out_files(app: SpinApp, source: Path, into: Path) -> None:
    """Copy the files that the component may read to where it sees them. Raises BuildFailed."""
    into.mkdir(mode=0o755)
    excluded = {path for pattern in app.exclude_files for path in _matching(source, pattern)}
    count = 0
    for mount in app.files:
        found = _found(mount, source)
        if not found:
            raise BuildFailed(f"spin.toml: there is no '{mount.source}', which it lists in files.")
        for path, place in found.items():
            if path in excluded or path.is_symlink() or not path.is_file():
                continue
            count += 1
            if count > _FILES_MAX:
                raise BuildFailed(f"spin.toml: its files are more than {_FILES_MAX:,}; name fewer.")
            target = into / place
            try:
                target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                shutil.copyfile(path, target)
            except (FileExistsError, IsADirectoryError, NotADirectoryError):
                raise BuildFailed(f"spin.toml: '{place}' would be a file and a directory among its files.") from None


def _found(mount: Mount, source: Path) -> dict[Path, PurePosixPath]:
    """Files of a mount, and where the component sees each, relative to its root."""
    if not mount.destination:
        named = _matching(source, mount.source)
        files = [file for one in named for file in ([one] if not one.is_dir() else one.rglob("*"))]
        return {file: PurePosixPath(file.relative_to(source).as_posix()) for file in files}
    root = source / mount.source
    below = PurePosixPath(mount.destination.lstrip("/"))
    if root.is_file():
        return {root: below if below.parts else PurePosixPath(root.name)}
    return {file: below / file.relative_to(root).as_posix() for file in root.rglob("*")}


def _matching(source: Path, pattern: str) -> list[Path]:
    try:
        return list(source.glob(pattern))
    except (ValueError, NotImplementedError, IndexError, re.error):
        raise BuildFailed(f"spin.toml: '{pattern}' is no pattern for files that can be read.") from None
