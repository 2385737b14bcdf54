"""What a registry asks for in WWW-Authenticate (RFC 9110, section 11)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"  # noqa: S105 -- a grammar's word
_ITEM = re.compile(rf'\s*,?\s*(?P<name>{_TOKEN})(?:\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>{_TOKEN})))?')


@dataclass(frozen=True)
class Challenge:
    """One way to say who one is; `scheme` and the names of parameters in small letters."""

    scheme: str
    parameters: Mapping[str, str]


def parse(headers: Iterable[str]) -> list[Challenge]:
    """All that the headers offer; what cannot be read is left out."""
    found: list[tuple[str, dict[str, str]]] = []
    for header in headers:
        at = 0
        while match := _ITEM.match(header, at):
            at = match.end()
            value = match["quoted"] if match["quoted"] is not None else match["plain"]
            if value is None:
                found.append((match["name"].lower(), {}))
            elif found:
                found[-1][1][match["name"].lower()] = re.sub(r"\\(.)", r"\1", value)
    return [Challenge(scheme, parameters) for scheme, parameters in found]
