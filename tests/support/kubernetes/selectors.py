"""Label selectors as queries write them and as objects hold them, and the few field selectors there are."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from tests.support.kubernetes.statuses import bad_request

Labels = Mapping[str, str]
Predicate = Callable[[Labels], bool]

_SETS = re.compile(r"\s*(?P<key>[^\s!=,()]+)\s+(?P<operator>in|notin)\s*\((?P<values>[^)]*)\)\s*(?:,|$)")
_PLAIN = re.compile(r"\s*(?P<no>!?)\s*(?P<key>[^\s!=,()]+)\s*(?:(?P<operator>==|=|!=)\s*(?P<value>[^,\s]*))?\s*(?:,|$)")


def labels_match(selector: str) -> Predicate:
    """Of a labelSelector: `a=b,c!=d,e in (f,g),h notin (i),j,!k`. Raises ApiError 400 for one that is none."""
    requirements: list[Predicate] = []
    at = 0
    while at < len(selector):
        if found := _SETS.match(selector, at):
            values = {value.strip() for value in found["values"].split(",")}
            requirements.append(_requirement(found["key"], "In" if found["operator"] == "in" else "NotIn", values))
        elif found := _PLAIN.match(selector, at):
            requirements.append(_plain(found))
        else:
            raise bad_request(f"unable to parse requirement: found '{selector[at:]}', expected: identifier")
        at = found.end()
    return lambda labels: all(holds(labels) for holds in requirements)


def _plain(found: re.Match[str]) -> Predicate:
    if found["operator"] is None:
        return _requirement(found["key"], "DoesNotExist" if found["no"] else "Exists", set())
    return _requirement(found["key"], "NotIn" if found["operator"] == "!=" else "In", {found["value"]})


def _requirement(key: str, operator: str, values: set[str]) -> Predicate:
    match operator:
        case "In":
            return lambda labels: labels.get(key) in values
        case "NotIn":
            return lambda labels: labels.get(key) not in values
        case "Exists":
            return lambda labels: key in labels
        case _:
            return lambda labels: key not in labels


def selected(selector: Mapping[str, Any] | None, labels: Labels) -> bool:
    """Whether a LabelSelector (matchLabels, matchExpressions) selects something with those labels; None: nothing."""
    if selector is None:
        return False
    wanted = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    expressions = selector.get("matchExpressions") or []
    return all(_requirement(one["key"], one["operator"], set(one.get("values") or []))(labels) for one in expressions)


def fields_match(selector: str, supported: Collection[str]) -> Callable[[Mapping[str, Any]], bool]:
    """Of a fieldSelector, `metadata.name=x,status.phase!=Running`. Raises ApiError 400."""
    terms: list[tuple[list[str], bool, str]] = []
    for term in filter(None, selector.split(",")):
        found = re.fullmatch(r"([A-Za-z.]+)(==|=|!=)(.*)", term)
        if found is None:
            raise bad_request(f"invalid selector: '{selector}'; can't understand '{term}'")
        if found[1] not in supported:
            raise bad_request(f"field label not supported: {found[1]}")
        terms.append((found[1].split("."), found[2] != "!=", found[3]))
    return lambda thing: all((_at(thing, path) == value) == equal for path, equal, value in terms)


def _at(thing: Any, path: list[str]) -> str:
    for step in path:
        thing = thing.get(step) if isinstance(thing, Mapping) else None
    return "" if thing is None else str(thing)


def written(selector: Mapping[str, Any]) -> str:
    """A LabelSelector of matchLabels as a query writes it."""
    return ",".join(f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items()))
