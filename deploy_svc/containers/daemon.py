"""The Docker daemon through its SDK: blocking calls in a few threads, its many kinds of errors as ours."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import docker
import docker.errors
import docker.tls
import docker.utils
import requests
import urllib3

from deploy_svc.containers.http_stream import DaemonAddress
from mesh.errors import FailedPrecondition, MeshError, NotFound, Unavailable

T = TypeVar("T")
_TIMEOUT_S = 15
_THREADS = 4
_NO_ANSWER = (docker.errors.DockerException, requests.RequestException, urllib3.exceptions.HTTPError, OSError)
_DEFAULT_URL = "unix:///var/run/docker.sock"


class Daemon:
    """Calls of one daemon. `url` empty: DOCKER_HOST, or the default socket."""

    def __init__(self, url: str = "") -> None:
        environment = dict(os.environ)
        if url:
            environment["DOCKER_HOST"] = url
        self.url = environment.get("DOCKER_HOST") or _DEFAULT_URL
        self._environment = environment | {"DOCKER_HOST": self.url}
        self._executor = ThreadPoolExecutor(_THREADS, "docker")
        self._api: docker.APIClient | None = None
        self._doubtful = True  # whether it answered the last call

    def address(self) -> DaemonAddress:
        """Where it is, for streams."""
        certificates = self._environment.get("DOCKER_CERT_PATH", "")
        if not self._environment.get("DOCKER_TLS_VERIFY") or not certificates:
            return DaemonAddress(self.url)
        context = ssl.create_default_context(cafile=str(Path(certificates) / "ca.pem"))
        context.load_cert_chain(Path(certificates) / "cert.pem", Path(certificates) / "key.pem")
        return DaemonAddress(self.url, context)

    async def call(self, work: Callable[[docker.APIClient], T]) -> T:
        """Run `work` in a thread; a cancelled caller waits for it, so that nothing goes on behind its back.

        Raises NotFound, FailedPrecondition (the daemon refuses), Unavailable (it does not answer).
        """
        running = asyncio.get_running_loop().run_in_executor(self._executor, self._translated, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait({running})
            if not running.cancelled():
                running.exception()
            raise

    def close(self) -> None:
        """Let go of the threads; a call that hangs is left behind."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        if self._api is not None:
            self._api.close()

    def _knock(self) -> None:
        """Raises OSError where nobody listens at a socket. The SDK would find out too, but lose a socket over it."""
        parts = urlsplit(self.url)
        if parts.scheme in ("unix", "http+unix"):
            with socket.socket(socket.AF_UNIX) as knocking:
                knocking.settimeout(_TIMEOUT_S)
                knocking.connect(parts.path)

    def _translated(self, work: Callable[[docker.APIClient], T]) -> T:
        doubtful, self._doubtful = self._doubtful, True
        try:
            if doubtful:
                self._knock()
            if self._api is None:
                options: Any = docker.utils.kwargs_from_env(environment=self._environment)
                self._api = docker.APIClient(timeout=_TIMEOUT_S, version="auto", **options)
            answer = work(self._api)
            self._doubtful = False
            return answer
        except MeshError:
            raise
        except docker.errors.ImageNotFound as error:
            message = "The image of this revision is not there any more: deploy the function again."
            raise FailedPrecondition("IMAGE_MISSING", message) from error
        except docker.errors.NotFound as error:
            raise NotFound("CONTAINER_NOT_FOUND", _told(error)) from error
        except docker.errors.APIError as error:
            if error.is_client_error():
                raise FailedPrecondition("DOCKER_REFUSED", f"Docker refuses: {_told(error)}") from error
            raise Unavailable("DOCKER_FAILED", f"Docker failed: {_told(error)}") from error
        except _NO_ANSWER as error:
            message = f"Docker does not answer at {self.url}: start it, or set DOCKER_HOST."
            raise Unavailable("DOCKER_UNAVAILABLE", message) from error


def _told(error: docker.errors.APIError) -> str:
    return str(error.explanation or error).strip().splitlines()[0][:500]
