"""Who we are at a registry where nobody says: what Docker's own configuration has, as `docker push` finds it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from build_svc.oci.errors import RegistryError
from build_svc.oci.reference import DOCKER_HUB

_HELPER_S = 30.0
_DOCKER_HUB_KEY = "https://index.docker.io/v1/"
_IDENTITY_TOKEN = "<token>"  # noqa: S105 -- what helpers say instead of a user
_NOT_FOUND = "credentials not found"


@dataclass(frozen=True)
class Credentials:
    """A user and a password; or, without a user, a token that a token server changes into another one."""

    username: str
    password: str = field(repr=False)


class DockerCredentials:
    """Reads `config.json` of DOCKER_CONFIG or `~/.docker` each time, and asks the helpers that it names."""

    def __init__(self, environ: Mapping[str, str], *, helper_s: float = _HELPER_S) -> None:
        self._environ = environ
        self._helper_s = helper_s

    async def find(self, registry: str) -> Credentials | None:
        """What there is for a registry (`host[:port]`), or None. Raises RegistryError where it cannot be had."""
        path = self._path()
        config = await asyncio.to_thread(_read, path)
        key = _DOCKER_HUB_KEY if registry == DOCKER_HUB else registry
        helpers = config.get("credHelpers")
        helper = (helpers.get(key) or helpers.get(registry)) if isinstance(helpers, dict) else None
        helper = helper or config.get("credsStore")
        if helper:
            return await self._ask(str(helper), key, path)
        return _stored(config.get("auths"), registry)

    def _path(self) -> Path:
        directory = self._environ.get("DOCKER_CONFIG") or Path(self._environ.get("HOME") or "/") / ".docker"
        return Path(directory) / "config.json"

    async def _ask(self, helper: str, key: str, path: Path) -> Credentials | None:
        name = f"docker-credential-{helper}"
        program = shutil.which(name, path=self._environ.get("PATH")) if "/" not in helper else None
        if program is None:
            raise RegistryError(f"{name}, which {path} names for {key}, is not on the builder's PATH: install it.")
        environ = {one: value for one, value in self._environ.items() if not one.startswith("FNMESH_")}
        process = await asyncio.create_subprocess_exec(
            program, "get", env=environ, stdin=-1, stdout=-1, stderr=-1, start_new_session=True
        )
        try:
            async with asyncio.timeout(self._helper_s):
                out, errors = await process.communicate(key.encode())
        except TimeoutError:
            raise RegistryError(f"{name} did not answer within {self._helper_s:g} s.") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            said = (out.strip() or errors.strip()).decode(errors="replace")
            if _NOT_FOUND in said.lower():
                return None
            raise RegistryError(f"{name} has no credentials for {key}: {_one_line(said)}")
        try:
            answer = json.loads(out)
            username, secret = str(answer["Username"]), str(answer["Secret"])
        except (ValueError, KeyError, TypeError):
            raise RegistryError(f"{name} answered something else than credentials for {key}.") from None
        return Credentials("" if username == _IDENTITY_TOKEN else username, secret)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "it is not JSON"
        raise RegistryError(f"Docker's configuration {path} cannot be read: {reason}.") from None
    return found if isinstance(found, dict) else {}


def _stored(auths: object, registry: str) -> Credentials | None:
    if not isinstance(auths, dict):
        return None
    wanted = {registry, "index.docker.io"} if registry == DOCKER_HUB else {registry}
    for key, entry in auths.items():
        if _host(key) not in wanted or not isinstance(entry, dict):
            continue
        if entry.get("identitytoken"):
            return Credentials("", str(entry["identitytoken"]))
        if entry.get("auth"):
            try:
                username, _, password = base64.b64decode(str(entry["auth"]), validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                raise RegistryError(f"Docker's configuration has no readable credentials for {key}.") from None
            return Credentials(username, password.rstrip("\0"))
        if entry.get("username"):
            return Credentials(str(entry["username"]), str(entry.get("password", "")))
    return None


def _host(key: str) -> str:
    """The host of a key of `auths`, which may be a URL."""
    return key.rpartition("://")[2].partition("/")[0]


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]
