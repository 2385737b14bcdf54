"""On which nodes pods should run. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SPOT_LABELS = (
    "eks.amazonaws.com/capacityType=SPOT,cloud.google.com/gke-spot=true,"
    "kubernetes.azure.com/scalesetpriority=spot,karpenter.sh/capacity-type=spot"
)
"""How EKS, GKE, AKS and Karpenter mark nodes that can be taken away at short notice."""
SPOT_TOLERATIONS = "cloud.google.com/gke-spot=true:NoSchedule,kubernetes.azure.com/scalesetpriority=spot:NoSchedule"
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_WEIGHT = 100
_SPREAD = ("topology.kubernetes.io/zone", "kubernetes.io/hostname")


@dataclass(frozen=True, slots=True)
class Spot:
    """Labels of spot nodes, and the taints of theirs that pods put up with (key, value, effect)."""

    labels: tuple[tuple[str, str], ...] = ()
    tolerations: tuple[tuple[str, str, str], ...] = ()


def parse_spot(labels: str, tolerations: str) -> Spot:
    """`key=value,...` and `key=value:Effect,...`. Raises ValueError with a sentence."""
    return Spot(tuple(_pair(one) for one in _items(labels)), tuple(_taint(one) for one in _items(tolerations)))


def _items(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ValueError(f"'{text}' is not of the form key=value")
    return key, value


def _taint(text: str) -> tuple[str, str, str]:
    pair, colon, effect = text.rpartition(":")
    if not colon or effect not in _EFFECTS:
        raise ValueError(f"'{text}' is not of the form key=value:Effect with an effect of {', '.join(_EFFECTS)}")
    return (*_pair(pair), effect)


def spot_fields(spot: Spot) -> dict[str, Any]:
    """What a pod's spec says to be on spot nodes where there are any, and elsewhere where there are none."""
    fields: dict[str, Any] = {}
    if spot.labels:
        preferred = [
            {
                "weight": _WEIGHT,
                "preference": {"matchExpressions": [{"key": key, "operator": "In", "values": [value]}]},
            }
            for key, value in spot.labels
        ]
        fields["affinity"] = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}
    if spot.tolerations:
        fields["tolerations"] = [
            {"key": key, "operator": "Equal", "value": value, "effect": effect}
            for key, value, effect in spot.tolerations
        ]
    return fields


def spread(selector: Mapping[str, str]) -> Sequence[dict[str, Any]]:
    """Pods of an app are put into different zones and nodes where that can be done."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": dict(selector)},
        }
        for key in _SPREAD
    ]
