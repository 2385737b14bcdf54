"""Calls of older clients as tables: each with what it sends, and the whole of what it is answered."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.support.eventually import eventually_sync


class Like:
    """Equal to every text of a form."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and re.fullmatch(self._pattern, other, re.DOTALL) is not None

    def __hash__(self) -> int:
        return hash(self._pattern)

    def __repr__(self) -> str:
        return f"<like {self._pattern}>"


class Some:
    """Equal to every value of a type (`bool` is no `int` here) that is not less than another."""

    def __init__(self, *kinds: type, least: float | None = None) -> None:
        self._kinds = kinds
        self._least = least

    def __eq__(self, other: object) -> bool:
        if type(other) not in self._kinds:
            return False
        return self._least is None or (isinstance(other, int | float) and other >= self._least)

    def __hash__(self) -> int:
        return hash(self._kinds)

    def __repr__(self) -> str:
        return f"<some {'|'.join(kind.__name__ for kind in self._kinds)}>"


@dataclass(frozen=True, eq=False)
class Among:
    """Equal to every list that has an element equal to this one."""

    element: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, list) and any(one == self.element for one in other)

    __hash__ = object.__hash__


@dataclass(frozen=True, eq=False)
class Each:
    """Equal to every list whose elements are all equal to this one, where there are any."""

    element: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, list) and all(one == self.element for one in other)

    __hash__ = object.__hash__


TIME = Like(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
UUID = Like(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
TRACE = Like(r"[0-9a-f]{32}")
COUNT = Some(int, least=0)
AMOUNT = Some(int, float, least=0)


@dataclass(frozen=True)
class Call:
    """A call and its answer. `{name}` in what is sent or awaited stands for a value that an earlier answer had;
    `saves` says which fields of this one are kept, and under which names. One that `waits` is repeated until the
    answer is this.
    """

    method: str
    path: str
    status: int
    answer: Any = None
    sends: Any = None
    content_type: str = "application/json"
    saves: Mapping[str, str] = field(default_factory=dict)
    waits: bool = False

    @property
    def line(self) -> str:
        """What a failed test calls it."""
        return f"{self.method} {self.path}"


def replay(http: httpx.Client, calls: Sequence[Call], values: dict[str, Any] | None = None) -> dict[str, Any]:
    """Makes the calls one after another and checks every answer in full; the values that were kept."""
    values = {} if values is None else values
    for call in calls:
        if call.waits:
            answer = eventually_sync(lambda call=call: _answered(http, call, values), 90, interval_s=0.1)  # type: ignore[misc]
        else:
            answer = _answered(http, call, values)
        values.update({name: answer.json()[field] for name, field in call.saves.items()})
    return values


def _answered(http: httpx.Client, call: Call, values: Mapping[str, Any]) -> httpx.Response:
    sends = _filled(call.sends, values)
    answer = http.request(call.method, _filled(call.path, values), **({} if call.sends is None else {"json": sends}))
    assert answer.status_code == call.status, f"{call.line}: {answer.status_code} {answer.text[:500]}"
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-trace-id"]), call.line
    wanted = _filled(call.answer, values)
    if call.answer is None:
        assert answer.content == b"", call.line
        return answer
    assert answer.headers["content-type"] == call.content_type, call.line
    found = answer.json() if call.content_type == "application/json" else answer.text
    assert found == wanted, f"{call.line}: {found!r} is not {wanted!r}"
    return answer


def _filled(what: Any, values: Mapping[str, Any]) -> Any:
    """The same with `{name}` replaced: as it is where it is the whole of a text, as text within one."""
    if isinstance(what, str):
        whole = re.fullmatch(r"\{(\w+)\}", what)
        if whole and whole[1] in values:
            return values[whole[1]]
        return re.sub(r"\{(\w+)\}", lambda found: str(values.get(found[1], found[0])), what)
    if isinstance(what, dict):
        return {key: _filled(value, values) for key, value in what.items()}
    if isinstance(what, list):
        return [_filled(value, values) for value in what]
    if isinstance(what, Among | Each):
        return type(what)(_filled(what.element, values))
    return what
