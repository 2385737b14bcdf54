"""Pods as instances. Pure.

An instance is what runs in a pod until its container ends: each restart of it is an instance of its own, with an end
and a log of its own, as on the other targets.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from deploy_svc.domain import Instance, InstanceState, Target
from deploy_svc.kubernetes.names import handle, instance_uid
from deploy_svc.kubernetes.rollout import end_in_words
from deploy_svc.kubernetes.views import Pod


def instances_of(
    pods: Sequence[Pod], answering: Collection[str], context: str, known: Mapping[str, Instance], now: datetime
) -> list[Instance]:
    """The rows that must be written so that they say what the pods of a function are.

    `known` are those there are of the function, the live ones and those that ended lately, by identifier; rows of
    other contexts are not among them.
    """
    changed: dict[str, Instance] = {}
    alive: set[str] = set()
    for pod in pods:
        uid = instance_uid(pod.uid, pod.restarts)
        row = known.get(uid)
        if (row is None and pod.over) or (row is not None and not row.live):
            continue  # what ended is told once, also of a pod that stays and whose row is gone
        if row is not None and _has_ended(pod):
            changed[uid] = _ended(row, InstanceState.FAILED, end_in_words(pod), now)
            continue
        alive.add(uid)
        fresh = _instance(pod, uid, context, row, pod.uid in answering, now)
        if fresh != row:
            changed[uid] = fresh
    by_pod = {one.uid: one for one in pods}
    previous = {instance_uid(one.uid, one.restarts - 1): one for one in by_pod.values() if one.restarts}
    for uid, row in known.items():
        if not row.live or uid in alive or uid in changed:
            continue
        restarted = previous.get(uid)
        if restarted is not None:
            changed[uid] = _ended(row, InstanceState.FAILED, end_in_words(restarted), now)
        else:
            changed[uid] = _ended(row, InstanceState.STOPPED, row.retired, now)
    return list(changed.values())


def _has_ended(pod: Pod) -> bool:
    return pod.over or (pod.ended is not None and not pod.running)


def _instance(pod: Pod, uid: str, context: str, row: Instance | None, answers: bool, now: datetime) -> Instance:
    fresh = row or Instance(
        uid=uid,
        function_uid=pod.function_uid,
        revision=pod.revision,
        target=Target.KUBERNETES,
        state=InstanceState.STARTING,
        created_at=pod.created_at if not pod.restarts else now,
        handle=handle(pod.namespace, pod.name, pod.restarts, context),
        concurrency=pod.concurrency,
        timeout_ms=pod.timeout_ms,
    )
    if answers and not _has_ended(pod):
        was_ready = fresh.state is InstanceState.READY
        if was_ready and fresh.address == pod.address:
            return fresh
        return replace(
            fresh, state=InstanceState.READY, address=pod.address, ready_at=now, draining_at=None, message=""
        )
    if fresh.state is InstanceState.READY:
        why = "" if pod.ending else "Its readiness probe is not answered."
        return replace(fresh, state=InstanceState.DRAINING, draining_at=now, message=why)
    return fresh


def _ended(row: Instance, state: InstanceState, message: str, now: datetime) -> Instance:
    return replace(row, state=state, ended_at=now, message=message)
