"""What becomes of a pod, as a test says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Ready:
    """It runs and answers; `address` is its podIP (any of 127.0.0.0/8), of its own if empty."""

    address: str = ""
    restarts: int = 0


@dataclass(frozen=True)
class NotReady:
    """It runs, and its readiness probe fails."""

    address: str = ""
    restarts: int = 0


@dataclass(frozen=True)
class Starting:
    """Its containers are being made, until the test says otherwise (`Kubelet.set`)."""


@dataclass(frozen=True)
class Waiting:
    """Its containers do not start: `reason` is ImagePullBackOff, ErrImagePull, CreateContainerConfigError, ..."""

    reason: str
    message: str = ""


@dataclass(frozen=True)
class Crashing:
    """Its containers end over and over: between two tries (CrashLoopBackOff), or just ended if not `backing_off`."""

    exit_code: int = 1
    reason: str = "Error"
    message: str = ""
    restarts: int = 3
    backing_off: bool = True


@dataclass(frozen=True)
class Unschedulable:
    """No node takes it."""

    message: str = "0/1 nodes are available: 1 Insufficient memory. preemption: 0/1 nodes are available."


@dataclass(frozen=True)
class Evicted:
    """The node took it off: the pod has Failed, and is not started again."""

    message: str = "The node was low on resource: memory."


@dataclass(frozen=True)
class Runs:
    """`Kubelet.runtime` really starts it, and it is Ready once that has returned."""


Behaviour = Ready | NotReady | Starting | Waiting | Crashing | Unschedulable | Evicted | Runs


@dataclass(frozen=True)
class PodRule:
    """What becomes of pods of that namespace, with those labels, of that image; whatever of it is given."""

    behaviour: Behaviour
    namespace: str
    labels: Mapping[str, str]
    image: str

    def concerns(self, pod: Json) -> bool:
        labels = pod["metadata"].get("labels") or {}
        images = [container["image"] for container in pod["spec"]["containers"]]
        return (
            self.namespace in ("", pod["metadata"]["namespace"])
            and all(labels.get(key) == value for key, value in self.labels.items())
            and (not self.image or self.image in images)
        )


def image_pull_back_off(image: str) -> Waiting:
    """The registry does not give the image away."""
    return Waiting("ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: not found')


def crash_loop_back_off(restarts: int = 3) -> Crashing:
    """It exits with 1 each time."""
    return Crashing(restarts=restarts)


def oom_killed(restarts: int = 3) -> Crashing:
    """It wants more memory than its limit each time."""
    return Crashing(137, "OOMKilled", restarts=restarts)
