"""A pod's `status`, from what becomes of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tests.support.kubernetes.behaviours import (
    Behaviour,
    Crashing,
    Evicted,
    NotReady,
    Ready,
    Runs,
    Starting,
    Unschedulable,
    Waiting,
)  # fmt: skip
from tests.support.kubernetes.times import stamp

Json = dict[str, Any]

HOST_ADDRESS = "127.0.0.1"


def status_of(pod: Json, behaviour: Behaviour, address: str, now: datetime) -> Json:
    """The whole of it; what has not changed keeps the time since when it is so."""
    before = pod.get("status") or {}
    time = stamp(now)
    if isinstance(behaviour, Evicted):
        return {**before, "phase": "Failed", "reason": "Evicted", "message": behaviour.message}
    if isinstance(behaviour, Unschedulable):
        scheduled = _condition("PodScheduled", False, time, before, "Unschedulable", behaviour.message)
        return {"phase": "Pending", "conditions": [scheduled], "qosClass": _quality(pod)}
    running = isinstance(behaviour, Ready | NotReady | Crashing)
    ready = isinstance(behaviour, Ready)
    unready = f"containers with unready status: [{' '.join(one['name'] for one in pod['spec']['containers'])}]"
    why = () if ready else ("ContainersNotReady", unready)
    return {
        "phase": "Running" if running else "Pending",
        "conditions": [
            _condition("PodReadyToStartContainers", running, time, before),
            _condition("Initialized", True, time, before),
            _condition("Ready", ready, time, before, *why),
            _condition("ContainersReady", ready, time, before, *why),
            _condition("PodScheduled", True, time, before),
        ],
        "hostIP": HOST_ADDRESS, "hostIPs": [{"ip": HOST_ADDRESS}],
        **({"podIP": address, "podIPs": [{"ip": address}]} if running else {}),
        "startTime": before.get("startTime", time),
        "containerStatuses": [_container(one, pod, behaviour, before, time) for one in pod["spec"]["containers"]],
        "qosClass": _quality(pod),
    }  # fmt: skip


def is_ready(pod: Json) -> bool:
    """Whether its Ready condition holds."""
    return ready_since(pod) is not None


def ready_since(pod: Json) -> str | None:
    """When it became ready; None if it is not."""
    for condition in (pod.get("status") or {}).get("conditions") or []:
        if condition["type"] == "Ready" and condition["status"] == "True":
            return str(condition["lastTransitionTime"])
    return None


def _condition(name: str, holds: bool, time: str, before: Json, reason: str = "", message: str = "") -> Json:
    status = "True" if holds else "False"
    since = time
    for condition in before.get("conditions") or []:
        if condition["type"] == name and condition["status"] == status:
            since = condition["lastTransitionTime"]
    said = {"reason": reason, "message": message} if reason else {}
    return {"type": name, "status": status, "lastProbeTime": None, "lastTransitionTime": since, **said}


def _container(container: Json, pod: Json, behaviour: Behaviour, before: Json, time: str) -> Json:
    earlier: Json = next((one for one in before.get("containerStatuses") or [] if one["name"] == container["name"]), {})
    status: Json = {
        "name": container["name"], "image": container["image"], "imageID": "", "ready": False, "started": False,
        "restartCount": earlier.get("restartCount", 0), "lastState": {}, "state": {},
    }  # fmt: skip
    made = {"containerID": f"containerd://{pod['metadata']['uid'].replace('-', '')}", "imageID": container["image"]}
    match behaviour:
        case Ready(restarts=restarts) | NotReady(restarts=restarts):
            since = earlier.get("state", {}).get("running", {}).get("startedAt", time)
            restarts = max(restarts, status["restartCount"])
            ready = isinstance(behaviour, Ready)
            status |= {"state": {"running": {"startedAt": since}}, "ready": ready, "started": True, **made}
            status |= {"restartCount": restarts, "lastState": earlier.get("lastState", {})}
        case Crashing():
            ended = {
                "exitCode": behaviour.exit_code, "reason": behaviour.reason, "startedAt": time, "finishedAt": time,
                **({"message": behaviour.message} if behaviour.message else {}),
            }  # fmt: skip
            status |= {"restartCount": behaviour.restarts, **made}
            if behaviour.backing_off:
                where = f"{pod['metadata']['name']}_{pod['metadata']['namespace']}({pod['metadata']['uid']})"
                said = f"back-off 40s restarting failed container={container['name']} pod={where}"
                status |= {"state": {"waiting": {"reason": "CrashLoopBackOff", "message": said}}}
                status |= {"lastState": {"terminated": ended}}
            else:
                status |= {"state": {"terminated": ended}}
        case Waiting(reason, message):
            status |= {"state": {"waiting": {"reason": reason, **({"message": message} if message else {})}}}
        case Starting() | Runs():
            status |= {"state": {"waiting": {"reason": "ContainerCreating"}}}
    return status


def _quality(pod: Json) -> str:
    wanted = [one.get("resources") or {} for one in pod["spec"]["containers"]]
    if not any(one.get("requests") or one.get("limits") for one in wanted):
        return "BestEffort"
    complete = all({"cpu", "memory"} <= set(one.get("limits") or {}) for one in wanted)
    return "Guaranteed" if complete and all(one.get("requests") == one.get("limits") for one in wanted) else "Burstable"
