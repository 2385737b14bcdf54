"""Envoy's compiled configuration, kept from one start to the next.

To compile it, a child process imports envoy-data-plane: more than a second of a core, at every start the same. What
comes out depends on the spec and on code, so it is kept in a file whose name is a digest of both. Where things are
(`gateway.envoy.places`) is put in afterwards, and so is the service token, which is another one at every start: a
stand-in of its length is compiled, and no token is ever in the file.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError

from fnmesh.internal.invoke.v1 import http_service_pb2
from gateway.envoy import places
from gateway.envoy.resources import Resource
from gateway.envoy.spec import EnvoySpec
from mesh.logs import get_logger

log = get_logger(__name__)
_PACKAGES = ("envoy-data-plane", "protobuf", "googleapis-common-protos")
_HERE = Path(__file__).parent
_KEPT = 8


@dataclass(frozen=True)
class Compiled:
    """The bootstrap, and the resources that no event changes."""

    bootstrap: bytes
    resources: tuple[Resource, ...]

    def to_json(self) -> str:
        """As text, for a file or a pipe."""
        resources = [[one.type_url, one.name, _text(one.body)] for one in self.resources]
        return json.dumps({"bootstrap": _text(self.bootstrap), "resources": resources})

    @classmethod
    def from_json(cls, text: str) -> Compiled:
        """The inverse of `to_json`. Raises ValueError, KeyError or TypeError where the text is none of its."""
        fields = json.loads(text)
        resources = (Resource(type_url, name, base64.b64decode(body)) for type_url, name, body in fields["resources"])
        return cls(base64.b64decode(fields["bootstrap"]), tuple(resources))

    def at(self, spec: EnvoySpec) -> Compiled:
        """With a spec's own places for their stand-ins. Raises KeyError or DecodeError where there are none."""
        resources = tuple(places.put_into_resource(spec, one) for one in self.resources)
        return Compiled(places.put_into_bootstrap(spec, self.bootstrap), resources)

    def with_token(self, stand_in: str, token: str) -> Compiled:
        """With the token in the stand-in's place; they must be of one length, since messages hold lengths."""
        if len(stand_in) != len(token):
            raise ValueError("the token and its stand-in differ in length")
        old, new = stand_in.encode(), token.encode()
        resources = (dataclasses.replace(one, body=one.body.replace(old, new)) for one in self.resources)
        return Compiled(self.bootstrap.replace(old, new), tuple(resources))

    def write_bootstrap(self, path: Path) -> None:
        """Writes the bootstrap, mode 0600 (it holds the service token), atomically. The name must end in `.pb`."""
        if path.suffix != ".pb":
            raise ValueError(f"Envoy reads a binary bootstrap by its name: {path} must end in .pb")
        _write(path, self.bootstrap)


async def compiled(spec: EnvoySpec, cache: Path) -> Compiled:
    """The configuration for a spec, from the directory `cache` or made and put there. Raises RuntimeError."""
    stand_in = hashlib.sha512(b"service token").hexdigest()[: len(spec.service_token)]
    if len(stand_in) != len(spec.service_token) or spec.collector is not None:  # its headers may be secrets
        return await _compile(spec)
    common = dataclasses.replace(places.taken_out(spec), service_token=stand_in)
    file = cache / f"envoy-{_digest(common)}.json"
    try:
        found = Compiled.from_json(file.read_text()).at(spec)
    except (OSError, ValueError, KeyError, TypeError, DecodeError):
        made = await _compile(common)
        try:
            _keep(file, made)
        except OSError as error:
            log.warning("envoy_config_not_kept", file=str(file), error=str(error))
        found = made.at(spec)
    return found.with_token(stand_in, spec.service_token)


async def _compile(spec: EnvoySpec) -> Compiled:
    """Has a child process make it."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway.envoy.compile",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await child.communicate(spec.to_json().encode())
    if child.returncode != 0:
        raise RuntimeError(f"Envoy's configuration could not be made: {err.decode(errors='replace')}")
    return Compiled.from_json(out.decode())


def _digest(spec: EnvoySpec) -> str:
    """Of the spec and of all that makes something of it."""
    digest = hashlib.sha256(spec.to_json().encode())
    for file in sorted((*_HERE.glob("*.py"), *_HERE.glob("*.lua"))):
        digest.update(file.read_bytes())
    for package in _PACKAGES:
        digest.update(importlib.metadata.version(package).encode())
    digest.update(http_service_pb2.DESCRIPTOR.serialized_pb)
    return digest.hexdigest()[:32]


def _keep(file: Path, found: Compiled) -> None:
    """Keeps it, and removes the oldest of many."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write(file, found.to_json().encode())
    kept = {one: _written(one) for one in file.parent.glob("envoy-*.json")}
    for older in sorted(kept, key=kept.__getitem__, reverse=True)[_KEPT:]:
        older.unlink(missing_ok=True)


def _written(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:  # another gateway has removed it
        return 0.0


def _write(path: Path, content: bytes) -> None:
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(partial).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(partial).unlink()
        raise


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
