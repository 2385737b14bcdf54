"""Pods of the fake cluster that really answer: images of functions as containers, Spin applications as a stand-in."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import docker
import httpx
from docker.errors import APIError, NotFound
from docker.models.containers import Container
from requests.exceptions import RequestException

from tests.support.eventually import eventually_sync

Json = dict[str, Any]
LABEL = "fnmesh.test-pod"
_SPIN_CLASS = "wasmtime-spin-v2"
_READY_S = 60


class Pods:
    """The runtime of a fake cluster's kubelet. `secret` reads a Secret's data, `write_log` takes what a pod writes, by
    namespace and name; `login` is who pulls images."""

    def __init__(
        self,
        daemon: docker.DockerClient,
        secret: Callable[[str, str], Json],
        write_log: Callable[[str, str, str], None],
        login: dict[str, str],
    ) -> None:
        self._daemon = daemon
        self._secret = secret
        self._write_log = write_log
        self._login = login
        self._mark = secrets.token_hex(6)
        self._containers: dict[str, Container] = {}
        self._stand_ins: dict[str, ThreadingHTTPServer] = {}

    async def start(self, pod: Json) -> str:
        """The pod's address, once it answers."""
        starts = self._stand_in if pod["spec"].get("runtimeClassName") == _SPIN_CLASS else self._container
        return await asyncio.to_thread(starts, pod)

    async def stop(self, pod: Json, grace_s: float) -> None:
        """Ends it; its containers stop when they are told, so the grace is not used up."""
        uid = pod["metadata"]["uid"]
        if (server := self._stand_ins.pop(uid, None)) is not None:
            await asyncio.to_thread(server.shutdown)
            server.server_close()
        if (container := self._containers.pop(uid, None)) is not None:
            await asyncio.to_thread(_remove, container)

    def remove(self) -> None:
        """Ends all that is left."""
        for server in self._stand_ins.values():
            server.shutdown()
            server.server_close()
        for container in self._daemon.containers.list(all=True, filters={"label": f"{LABEL}={self._mark}"}):
            _remove(container)

    def _container(self, pod: Json) -> str:
        """As a kubelet would start it: the same user, no privileges, a root that cannot be written to."""
        (described,) = pod["spec"]["containers"]
        image, address = described["image"], _address()
        self._daemon.api.pull(image, auth_config=self._login)
        security = pod["spec"]["securityContext"]
        container = self._daemon.containers.run(
            image, described["args"], detach=True, environment=self._environ(pod, described),
            user=f"{security['runAsUser']}:{security['runAsGroup']}", read_only=True, tmpfs={"/tmp": ""},
            cap_drop=["ALL"], security_opt=["no-new-privileges"], labels={LABEL: self._mark},
            ports={f"{described['ports'][0]['containerPort']}/tcp": (address, 8080)},
        )  # fmt: skip
        self._containers[pod["metadata"]["uid"]] = container
        threading.Thread(target=self._follow, args=(pod["metadata"], container), daemon=True).start()
        path = described["readinessProbe"]["httpGet"]["path"]
        eventually_sync(lambda: _answers(f"http://{address}:8080{path}"), _READY_S)
        return address

    def _follow(self, metadata: Json, container: Container) -> None:
        """Passes on what it writes, until it or its pod is gone."""
        rest = b""
        with suppress(LookupError, APIError, RequestException):
            for part in container.logs(stream=True, follow=True):
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    self._write_log(metadata["namespace"], metadata["name"], line.decode())

    def _environ(self, pod: Json, described: Json) -> dict[str, str]:
        found = {}
        for source in described.get("envFrom", ()):
            data = self._secret(pod["metadata"]["namespace"], source["secretRef"]["name"])
            found |= {key: base64.b64decode(value).decode() for key, value in data.items()}
        return found | {one["name"]: one.get("value", "") for one in described.get("env", ())}

    def _stand_in(self, pod: Json) -> str:
        """Answers with its image and variables: what SpinKube's shim would run is run by other tests."""
        (described,) = pod["spec"]["containers"]
        told = {"image": described["image"], "env": {one["name"]: one.get("value") for one in described["env"]}}
        address = _address()
        server = ThreadingHTTPServer((address, 80), type("Answering", (_StandIn,), {"told": told}))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self._stand_ins[pod["metadata"]["uid"]] = server
        return address


class _StandIn(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    told: Json

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        body = json.dumps({**self.told, "path": self.path}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _answer

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def _address() -> str:
    return f"127.{random.randint(32, 223)}.{random.randint(1, 250)}.{random.randint(1, 250)}"


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def _remove(container: Container) -> None:
    try:
        container.remove(force=True)
    except NotFound:
        return
