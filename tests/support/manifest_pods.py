"""The pods of rendered manifests, run by a Docker daemon: no cluster, but the same images, commands, settings, users,
read-only file systems and host names.

What a cluster does and Docker does not: Secrets are files that the test gives; the fields of a pod are put in.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container

from tests.support.mesh_images import MeshImages

Pod = Mapping[str, Any]
_GROUP = 10001


@dataclass
class PodHost:
    """Runs pods on a network of their own; `close` removes all of it."""

    docker_url: str
    images: MeshImages
    secrets: Mapping[str, str]
    """Keys of the one Secret."""
    files: Path
    shared: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """(pod, volume) -> a directory that it shares with others, in place of an emptyDir of its own."""
    extra_env: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    mounts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """More mounts, as `docker run --volume` has them, by the name of the pod."""

    def __post_init__(self) -> None:
        self._name = f"fnmesh-test-{secrets.token_hex(4)}"
        self.client = docker.DockerClient(base_url=self.docker_url, version="auto", timeout=120)
        self.network = self.client.networks.create(self._name)
        self._containers: list[Container] = []

    @property
    def gateway(self) -> str:
        """This machine, as the containers reach it."""
        self.network.reload()
        return str(self.network.attrs["IPAM"]["Config"][0]["Gateway"])

    def run(self, name: str, pod: Pod) -> Container:
        """Starts a pod under the name of its Service: its init containers, then its one container."""
        for container in pod.get("initContainers", ()):
            self.run_once(name, pod, container)
        return self._start(name, pod, pod["containers"][0], alias=name)

    def run_once(self, name: str, pod: Pod, container: Mapping[str, Any] | None = None) -> str:
        """Runs a container to its end; its output. Raises AssertionError where it fails."""
        started = self._start(f"{name}-once", pod, container or pod["containers"][0], volumes_of=name)
        code = started.wait(timeout=120)["StatusCode"]
        said = started.logs().decode(errors="replace")
        assert code == 0, said
        return said

    def address(self, container: Container) -> str:
        """Its IP address."""
        container.reload()
        return str(container.attrs["NetworkSettings"]["Networks"][self._name]["IPAddress"])

    def volume(self, name: str) -> str:
        """An emptyDir as the kubelet makes it: root's, for the group of the pod."""
        place = self.files / "volumes" / name
        if not place.exists():
            place.mkdir(parents=True)
            os.chown(place, 0, _GROUP)
            place.chmod(0o2777)
        return str(place)

    def told(self) -> str:
        """The ends of all logs, for the message of a failed test."""
        return "\n".join(f"-- {one.name}\n{one.logs(tail=15).decode(errors='replace')}" for one in self._containers)

    def close(self) -> None:
        for one in self._containers:
            one.remove(force=True, v=True)
        self.network.remove()
        self.client.close()

    def _start(
        self, name: str, pod: Pod, container: Mapping[str, Any], *, alias: str = "", volumes_of: str = ""
    ) -> Container:
        of = volumes_of or name
        security, own = pod["securityContext"], container["securityContext"]
        created = self.client.containers.create(
            self.images.envoy if "/envoy:" in container["image"] else self.images.services,
            command=container.get("args") if "command" not in container else list(container["command"])[1:],
            entrypoint=None if "command" not in container else container["command"][:1],
            name=f"{self._name}-{name}",
            environment=self._environment(container, name) | dict(self.extra_env.get(of, {})),
            user=f"{security['runAsUser']}:{security['runAsGroup']}",
            read_only=own["readOnlyRootFilesystem"],
            cap_drop=own["capabilities"]["drop"],
            security_opt=["no-new-privileges:true"],
            volumes=[*self._mounts(of, pod, container), *self.mounts.get(of, ())],
            network=self._name,
            networking_config={self._name: self.client.api.create_endpoint_config(aliases=[alias] if alias else [])},
        )
        self._containers.append(created)
        created.start()
        return created

    def _environment(self, container: Mapping[str, Any], name: str) -> dict[str, str]:
        found = {}
        for one in container.get("env", ()):
            source = one.get("valueFrom", {})
            if "secretKeyRef" in source:
                value = self.secrets[source["secretKeyRef"]["key"]]
            elif "fieldRef" in source:
                value = name  # others find it by its name, as they would by its address
            else:
                value = one["value"].replace("$(POD_IP)", found.get("POD_IP", ""))
            found[one["name"]] = value
        return found

    def _mounts(self, of: str, pod: Pod, container: Mapping[str, Any]) -> list[str]:
        found = []
        for path, volume in _mounted(pod, container):
            if "secret" in volume:
                found.append(f"{self._secret_files(of, volume['secret'])}:{path}:ro")
            elif "emptyDir" in volume:
                name = volume["name"]
                found.append(f"{self.shared.get((of, name)) or self.volume(f'{of}.{name}')}:{path}")
        return found

    def _secret_files(self, of: str, secret: Mapping[str, Any]) -> Path:
        """The files of a Secret as the kubelet makes them: root's, for the group of the pod."""
        place = self.files / f"{of}-{secret['secretName']}"
        place.mkdir(mode=0o755, exist_ok=True)
        for item in secret["items"]:
            path = place / item["path"]
            path.write_text(self.secrets[item["key"]])
            os.chown(path, 0, _GROUP)
            path.chmod(secret["defaultMode"])
        return place


def _mounted(pod: Pod, container: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Each mount of a container, with the volume that is there."""
    volumes = {one["name"]: one for one in pod["volumes"]}
    return [(one["mountPath"], volumes[one["name"]]) for one in container["volumeMounts"]]
