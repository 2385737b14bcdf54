"""Limits as Kubernetes' quantities. Pure."""

from __future__ import annotations

from typing import Any

from deploy_svc.domain import Limits

CPU_REQUEST_PARTS = 4
"""A pod is promised one of so many parts of its CPU limit: functions wait more than they compute."""
_LEAST_CPU_MILLIS = 10


def resources(limits: Limits) -> dict[str, Any]:
    """Requests and limits: all of the memory is promised, for a pod that needs more is killed and not slowed."""
    memory = memory_quantity(limits.memory_bytes)
    request = min(limits.cpu_millis, max(_LEAST_CPU_MILLIS, limits.cpu_millis // CPU_REQUEST_PARTS))
    return {
        "requests": {"cpu": cpu_quantity(request), "memory": memory},
        "limits": {"cpu": cpu_quantity(limits.cpu_millis), "memory": memory},
    }


def memory_quantity(size: int) -> str:
    """Bytes, in the largest unit that says them exactly."""
    for shift, unit in ((30, "Gi"), (20, "Mi"), (10, "Ki")):
        if size and size % (1 << shift) == 0:
            return f"{size >> shift}{unit}"
    return str(size)


def cpu_quantity(millis: int) -> str:
    """Thousandths of a CPU."""
    return str(millis // 1000) if millis % 1000 == 0 else f"{millis}m"
