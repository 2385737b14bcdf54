"""What the server refuses (422) in what a pod says of the nodes it wants."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.support.kubernetes import names
from tests.support.kubernetes.names import invalid_value, one_of, required, shown
from tests.support.kubernetes.statuses import Cause

Json = dict[str, Any]

_EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")
_NODE_OPERATORS = ("DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn")


def broken(at: str, spec: Json) -> Iterator[Cause]:
    """Every rule it breaks; `at` is where the spec stands in its object."""
    yield from names.label_pairs(f"{at}.nodeSelector", spec.get("nodeSelector") or {})
    for index, toleration in enumerate(spec.get("tolerations") or []):
        yield from _toleration(f"{at}.tolerations[{index}]", toleration)
    node = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    preferred = node.get("preferredDuringSchedulingIgnoredDuringExecution") or []
    for index, term in enumerate(preferred):
        here = f"{at}.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
        if not 1 <= term["weight"] <= 100:
            yield invalid_value(f"{here}.weight", term["weight"], "must be in the range 1-100")
        yield from _node_term(f"{here}.preference", term["preference"])
    needed = node.get("requiredDuringSchedulingIgnoredDuringExecution")
    if needed is not None:
        here = f"{at}.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
        if not needed["nodeSelectorTerms"]:
            yield required(here, "must have at least one node selector term")
        for index, term in enumerate(needed["nodeSelectorTerms"]):
            yield from _node_term(f"{here}[{index}]", term)
    yield from _spread(f"{at}.topologySpreadConstraints", spec.get("topologySpreadConstraints") or [])


def _toleration(at: str, toleration: Json) -> Iterator[Cause]:
    key, operator, effect = toleration.get("key", ""), toleration.get("operator", "Equal"), toleration.get("effect", "")
    if key:
        yield from names.label_pairs(f"{at}.key", {key: ""})
    elif operator != "Exists":
        said = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        yield invalid_value(f"{at}.operator", operator, said)
    if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
        yield invalid_value(f"{at}.effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")
    if operator == "Exists" and toleration.get("value"):
        said = "value must be empty when `operator` is 'Exists'"
        yield invalid_value(f"{at}.operator", shown(toleration), said)
    elif operator == "Equal":
        yield from names.label_pairs(f"{at}.operator", {"key": toleration.get("value", "")})
    yield from one_of(f"{at}.operator", operator, ("Equal", "Exists"))
    yield from one_of(f"{at}.effect", effect, ("", *_EFFECTS))


def _node_term(at: str, term: Json) -> Iterator[Cause]:
    for index, wanted in enumerate(term.get("matchExpressions") or []):
        here = f"{at}.matchExpressions[{index}]"
        yield from names.label_pairs(f"{here}.key", {wanted["key"]: ""})
        yield from one_of(f"{here}.operator", wanted["operator"], _NODE_OPERATORS)
        values = wanted.get("values") or []
        if wanted["operator"] in ("In", "NotIn") and not values:
            yield required(f"{here}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        if wanted["operator"] in ("Exists", "DoesNotExist") and values:
            said = "Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            yield Cause(f"{here}.values", said, "FieldValueForbidden")


def _spread(at: str, constraints: list[Json]) -> Iterator[Cause]:
    seen: set[tuple[str, str]] = set()
    for index, wanted in enumerate(constraints):
        here = f"{at}[{index}]"
        if wanted["maxSkew"] <= 0:
            yield invalid_value(f"{here}.maxSkew", wanted["maxSkew"], "must be greater than zero")
        if not wanted["topologyKey"]:
            yield required(f"{here}.topologyKey", "can not be empty")
        yield from one_of(f"{here}.whenUnsatisfiable", wanted["whenUnsatisfiable"], ("DoNotSchedule", "ScheduleAnyway"))
        pair = (wanted["topologyKey"], wanted["whenUnsatisfiable"])
        if pair in seen:
            said = f'Duplicate value: "{{{pair[0]}, {pair[1]}}}"'
            yield Cause(f"{here}.{{topologyKey, whenUnsatisfiable}}", said, "FieldValueDuplicate")
        seen.add(pair)
