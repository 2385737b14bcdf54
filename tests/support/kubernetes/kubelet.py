"""The one node's kubelet, which does with each pod what the test says."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from typing import Any, Protocol

from tests.support.kubernetes.behaviours import (
    Behaviour,
    Crashing,
    NotReady,
    PodRule,
    Ready,
    Runs,
    Unschedulable,
    Waiting,
)
from tests.support.kubernetes.copies import clone
from tests.support.kubernetes.metrics import Usage
from tests.support.kubernetes.pod_logs import PodLogs
from tests.support.kubernetes.pod_status import status_of
from tests.support.kubernetes.resources import PODS, SECRETS
from tests.support.kubernetes.storage import Storage
from tests.support.kubernetes.times import ClusterClock

Json = dict[str, Any]

NODE = "node-1"


class Runtime(Protocol):
    """Really runs pods; called on the server's loop."""

    async def start(self, pod: Json) -> str:
        """Returns the pod's address once it is ready. Raises if it cannot start."""
        ...

    async def stop(self, pod: Json, grace_s: float) -> None:
        """Ends what `start` made, of a pod that is going, within `grace_s`."""
        ...


class Kubelet:
    """Pods it was told nothing of are Ready at once, each at a loopback address of its own.

    With `hold_terminations`, a pod that is deleted stays, terminating, until `finish`. `usage` (by the pod's uid) is
    what metrics.k8s.io says of it.
    """

    def __init__(
        self, storage: Storage, clock: ClusterClock, logs: PodLogs,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:  # fmt: skip
        self._storage = storage
        self._clock = clock
        self._logs = logs
        self._spawn = spawn
        self._rules: list[PodRule] = []
        self._behaviours: dict[str, Behaviour] = {}
        self._addresses: dict[str, str] = {}
        self._running: set[str] = set()
        self._ending: set[str] = set()
        # Two servers of two test processes should not give away the same addresses.
        self._network = (random.randint(32, 223), random.randint(0, 200))
        self._given = 0
        self.runtime: Runtime | None = None
        self.default: Behaviour = Ready()
        self.hold_terminations = False
        self.usage: dict[str, Usage] = {}

    def behave(
        self, behaviour: Behaviour, *, namespace: str = "", labels: Mapping[str, str] | None = None, image: str = ""
    ) -> None:
        """What becomes of new pods that match; the latest word counts."""
        with self._storage.lock:
            self._rules.insert(0, PodRule(behaviour, namespace, dict(labels or {}), image))

    def forget(self) -> None:
        """What `behave` said so far; pods that are there stay as they are."""
        with self._storage.lock:
            self._rules.clear()

    def set(self, namespace: str, name: str, behaviour: Behaviour) -> None:
        """What becomes of a pod that is there, now."""
        with self._storage.lock:
            pod = self._pod(namespace, name)
            self._behaviours[pod["metadata"]["uid"]] = behaviour
            self._bring_about(pod, behaviour)

    def set_all(self, behaviour: Behaviour, *, namespace: str = "", labels: Mapping[str, str] | None = None) -> None:
        """`set`, of all that match and are not terminating."""
        rule = PodRule(behaviour, namespace, dict(labels or {}), "")
        with self._storage.lock:
            for pod in self._storage.all(PODS):
                if rule.concerns(pod) and "deletionTimestamp" not in pod["metadata"]:
                    self.set(pod["metadata"]["namespace"], pod["metadata"]["name"], behaviour)

    def write_log(
        self, namespace: str, name: str, line: str, *, container: str = "", at: datetime | None = None
    ) -> None:
        """One line of a pod's (first) container."""
        with self._storage.lock:
            pod = self._pod(namespace, name)
        container = container or pod["spec"]["containers"][0]["name"]
        self._logs.write(pod["metadata"]["uid"], container, line, at)

    def restart(self, namespace: str, name: str) -> None:
        """Its containers have ended and run again: the log begins anew."""
        with self._storage.lock:
            pod = self._pod(namespace, name)
            for container in pod["spec"]["containers"]:
                self._logs.restart(pod["metadata"]["uid"], container["name"])
            count = int(pod["status"]["containerStatuses"][0]["restartCount"])
            self.set(namespace, name, Ready(restarts=count + 1))

    def finish(self, namespace: str, name: str) -> None:
        """A pod that is terminating is gone now."""
        with self._storage.lock:
            self._remove(self._pod(namespace, name))

    def step(self, namespace: str, name: str) -> None:
        """Looks at a pod that has changed."""
        pod = self._storage.find(PODS, namespace, name)
        if pod is None:
            return
        uid = pod["metadata"]["uid"]
        if "deletionTimestamp" in pod["metadata"]:
            self._terminate(pod)
        elif uid not in self._behaviours:
            behaviour = next((rule.behaviour for rule in self._rules if rule.concerns(pod)), self.default)
            self._behaviours[uid] = behaviour
            self._bring_about(pod, behaviour)

    def secret_changed(self, namespace: str) -> None:
        """Pods that waited for a Secret may start."""
        for pod in self._storage.all(PODS, namespace):
            waiting = [
                one["state"].get("waiting", {}) for one in (pod.get("status") or {}).get("containerStatuses", [])
            ]
            if any(one.get("reason") == "CreateContainerConfigError" for one in waiting):
                self._bring_about(pod, self._behaviours[pod["metadata"]["uid"]])

    def gone(self, uid: str) -> None:
        """A pod was removed, by whomever."""
        self._logs.end(uid)
        for known in (self._behaviours, self._addresses, self.usage):
            known.pop(uid, None)
        self._running.discard(uid)
        self._ending.discard(uid)

    def _bring_about(self, pod: Json, behaviour: Behaviour) -> None:
        uid = pod["metadata"]["uid"]
        if (missing := self._missing_secret(pod)) and not isinstance(behaviour, Unschedulable):
            behaviour = Waiting("CreateContainerConfigError", f'secret "{missing}" not found')
        now = clone(pod)
        if not isinstance(behaviour, Unschedulable):
            now["spec"].setdefault("nodeName", NODE)
        address = self._address(uid, behaviour)
        now["status"] = status_of(pod, behaviour, address, self._clock.now())
        if now != pod:
            self._storage.put(PODS, now)
        if isinstance(behaviour, Runs) and uid not in self._running:
            self._running.add(uid)
            self._spawn(self._run(now))

    def _address(self, uid: str, behaviour: Behaviour) -> str:
        if isinstance(behaviour, Ready | NotReady) and behaviour.address:
            self._addresses[uid] = behaviour.address
        if uid not in self._addresses:
            self._given += 1
            first, second = self._network
            self._addresses[uid] = f"127.{first}.{second + self._given // 250}.{self._given % 250 + 1}"
        return self._addresses[uid]

    def _missing_secret(self, pod: Json) -> str:
        for container in pod["spec"]["containers"]:
            wanted = [one.get("secretRef") for one in container.get("envFrom", [])]
            wanted += [(one.get("valueFrom") or {}).get("secretKeyRef") for one in container.get("env", [])]
            for reference in wanted:
                if reference and not reference.get("optional"):
                    found = self._storage.find(SECRETS, pod["metadata"]["namespace"], reference["name"])
                    if found is None or reference.get("key", "") not in ("", *(found.get("data") or {})):
                        return str(reference["name"])
        return ""

    async def _run(self, pod: Json) -> None:
        assert self.runtime is not None, "Runs() wants Kubelet.runtime"
        metadata = pod["metadata"]
        try:
            behaviour: Behaviour = Ready(await self.runtime.start(pod))
        except Exception as error:
            behaviour = Crashing(message=str(error))
        with self._storage.lock:
            found = self._storage.find(PODS, metadata["namespace"], metadata["name"])
            if found is not None and found["metadata"]["uid"] == metadata["uid"]:
                self.set(metadata["namespace"], metadata["name"], behaviour)

    def _terminate(self, pod: Json) -> None:
        uid = pod["metadata"]["uid"]
        if self.runtime is not None and uid in self._running:
            if uid not in self._ending:
                self._ending.add(uid)
                self._spawn(self._stop(pod))
        elif not self.hold_terminations:
            self._remove(pod)

    async def _stop(self, pod: Json) -> None:
        assert self.runtime is not None
        await self.runtime.stop(pod, float(pod["metadata"].get("deletionGracePeriodSeconds", 30)))
        with self._storage.lock:
            self._remove(pod)

    def _remove(self, pod: Json) -> None:
        metadata = pod["metadata"]
        found = self._storage.find(PODS, metadata["namespace"], metadata["name"])
        if found is None or found["metadata"]["uid"] != metadata["uid"]:
            return
        if found["metadata"].get("finalizers"):
            done = clone(found)
            done["metadata"]["deletionGracePeriodSeconds"] = 0
            if done != found:
                self._storage.put(PODS, done)
            return
        self._storage.remove(PODS, metadata["namespace"], metadata["name"])

    def _pod(self, namespace: str, name: str) -> Json:
        pod = self._storage.find(PODS, namespace, name)
        if pod is None:
            raise LookupError(f"there is no pod {namespace}/{name}")
        return pod
