"""What log lines are asked for by text: words, or the part of LogQL that chooses lines."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

_TEXT = r'"([^"\\\x00]|\\["\\])*"'
_SELECTOR = rf"\{{\s*(function_id\s*=\s*{_TEXT})?\s*\}}"
_STEP = rf"(\|=|!=)\s*{_TEXT}"
_LOGQL = rf"\s*({_SELECTOR})?\s*({_STEP}\s*){{0,10}}"
_WORDS = r"\s*[^\s{|!\x00][^\x00]*"
QUERY = rf"^({_LOGQL}|{_WORDS})$"


@dataclass(frozen=True)
class LineQuery:
    """Lines that contain some texts and lack others; `function_id` where one is named, and is to be that."""

    contains: Sequence[str] = ()
    lacks: Sequence[str] = ()
    function_id: str | None = None

    def logql(self, selector: str) -> str:
        """The same for Loki, of the streams that a selector selects."""
        steps = [f" |= {_quoted(text)}" for text in self.contains] + [f" != {_quoted(text)}" for text in self.lacks]
        return selector + "".join(steps)


def line_query(text: str) -> LineQuery:
    """What a text of the form QUERY asks for. Anything that is no LogQL is one text that lines contain."""
    if not re.fullmatch(_LOGQL, text):
        return LineQuery(contains=[text])
    selector = re.match(rf"\s*{_SELECTOR}", text)
    rest = text[selector.end() :] if selector else text
    steps = [(found[1], _unquoted(found[0][2:].strip())) for found in re.finditer(_STEP, rest)]
    named = re.search(_TEXT, selector[0]) if selector else None
    return LineQuery(
        contains=[one for kind, one in steps if kind == "|=" and one],
        lacks=[one for kind, one in steps if kind == "!=" and one],
        function_id=_unquoted(named[0]) if named else None,
    )


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
