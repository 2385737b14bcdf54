"""An OCI registry of a test's own: Debian's docker-registry on a loopback port, for everybody or for one user.

Skopeo, which shares no code with the mesh, reads back what was pushed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.eventually import eventually_sync
from tests.support.ports import free_port

USER, PASSWORD = "pusher", "correct horse"
_ATTEMPTS = 3
_MANIFESTS = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json, */*"


def why_missing() -> str | None:
    """What this machine lacks for a registry, or None."""
    packages = {"docker-registry": "docker-registry", "htpasswd": "apache2-utils"}
    absent = [package for program, package in packages.items() if shutil.which(program) is None]
    return f"apt-get install {' '.join(absent)} was not done" if absent else None


class DockerRegistry:
    """A running registry; `address` is its host and port."""

    def __init__(self, directory: Path, *, user: bool = False, deletes: bool = False) -> None:
        self._directory = directory
        self._user = user
        self._deletes = deletes
        self._process: subprocess.Popen[bytes] | None = None
        self.address = f"127.0.0.1:{free_port()}"

    def start(self) -> None:
        """Serves; again on the same port and data after `kill`."""
        self._directory.mkdir(parents=True, exist_ok=True)
        config = self._directory / "config.yml"
        config.write_text(json.dumps(self._config()))  # JSON is YAML too
        with (self._directory / "registry.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["docker-registry", "serve", str(config)], stdout=log, stderr=log, start_new_session=True
            )
        eventually_sync(self._answers, 60)

    def log_in(self, directory: Path) -> None:
        """Makes a directory the configuration of somebody who has logged in here with Docker."""
        directory.mkdir(exist_ok=True)
        auths = {self.address: {"username": USER, "password": PASSWORD}}
        (directory / "config.json").write_text(json.dumps({"auths": auths}))

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def forget(self, repository: str) -> None:
        """A repository is gone from its storage, as after somebody has cleaned up there."""
        shutil.rmtree(self._directory / "data/docker/registry/v2/repositories" / repository)

    def skopeo(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs skopeo as the user that may use this registry."""
        command, *rest = arguments
        options = ["--tls-verify=false"] if command == "inspect" else ["--src-tls-verify=false"]
        if self._user:
            options.append(f"--{'' if command == 'inspect' else 'src-'}creds={USER}:{PASSWORD}")
        return subprocess.run(
            ["skopeo", "--insecure-policy", command, *options, *rest],
            capture_output=True, text=True, check=check, timeout=120, env=_environ(self._directory),
        )  # fmt: skip

    def get(self, path: str) -> httpx.Response:
        """What it answers below /v2/."""
        auth = (USER, PASSWORD) if self._user else None
        headers = {"accept": _MANIFESTS}
        return httpx.get(f"http://{self.address}/v2/{path}", auth=auth, headers=headers, trust_env=False, timeout=30)

    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "info", "accesslog": {"disabled": False}},
            "storage": {
                "filesystem": {"rootdirectory": str(self._directory / "data")},
                "delete": {"enabled": self._deletes},
            },
            "http": {"addr": self.address},
        }
        if self._user:
            users = self._directory / "htpasswd"
            subprocess.run(["htpasswd", "-Bbc", str(users), USER, PASSWORD], check=True, capture_output=True)
            config["auth"] = {"htpasswd": {"realm": "tests", "path": str(users)}}
        return config

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RegistryEnded((self._directory / "registry.log").read_text(errors="replace")[-2000:])
        try:
            return self.get("").status_code == 200
        except httpx.TransportError:
            return False


class RegistryEnded(Exception):
    """It ended by itself; the text is what it said."""


@contextmanager
def running_registry(directory: Path, *, user: bool = False, deletes: bool = False) -> Iterator[DockerRegistry]:
    """One that serves until the context is left; `deletes` what it is asked to delete."""
    for attempt in range(_ATTEMPTS):
        registry = DockerRegistry(directory / f"registry-{attempt}", user=user, deletes=deletes)
        try:
            registry.start()
        except RegistryEnded as error:  # somebody else has taken the port meanwhile
            if attempt == _ATTEMPTS - 1:
                raise
            assert "address already in use" in str(error), error
            continue
        try:
            yield registry
        finally:
            registry.kill()
        return


def _environ(home: Path) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(home), "XDG_RUNTIME_DIR": str(home)}
