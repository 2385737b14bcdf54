"""Where a mesh is, and the key it is called with."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from fnmesh.client.errors import SourceError

DEFAULT_SERVER = "127.0.0.1:8080"


@dataclass(frozen=True)
class Address:
    """A mesh's address: `target` for gRPC, `url` for people and HTTP, and whether it speaks TLS."""

    target: str
    url: str
    tls: bool


def parse_server(server: str | None) -> Address:
    """Reads `host`, `host:port`, `http://host[:port]` or `https://host[:port]`; `host` alone is at port 8080.

    FNMESH_SERVER, or else 127.0.0.1:8080, where none is given. Raises SourceError for anything else.
    """
    text = server or os.environ.get("FNMESH_SERVER") or DEFAULT_SERVER
    parts = urlsplit(text if "://" in text else f"http://{text}")
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in ("http", "https") or not parts.hostname or port == -1 or parts.path not in ("", "/"):
        raise SourceError(f"'{text}' is not the address of a mesh; write it as 127.0.0.1:8080.")
    tls = parts.scheme == "https"
    port = port or (443 if tls else 80 if "://" in text else 8080)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Address(target=f"{host}:{port}", url=f"{parts.scheme}://{host}:{port}", tls=tls)


def credentials_file() -> Path:
    """Where the key is kept between calls: `$XDG_CONFIG_HOME/fnmesh/credentials`, or below ~/.config."""
    config = os.environ.get("XDG_CONFIG_HOME")
    return (Path(config) if config else Path.home() / ".config") / "fnmesh" / "credentials"


def find_api_key() -> str | None:
    """The key from FNMESH_API_KEY, or the first line of the credentials file; None where there is neither.

    Raises SourceError where other users may read the file.
    """
    key = os.environ.get("FNMESH_API_KEY", "").strip()
    if key:
        return key
    path = credentials_file()
    try:
        mode = path.stat().st_mode
        if stat.S_IMODE(mode) & 0o077:
            raise SourceError(f"Other users may read the key in {path}; run: chmod 600 {path}")
        lines = path.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SourceError(f"The key in {path} cannot be read: {error.strerror}.") from None
    return lines[0] if lines else None
