"""What of a body is kept with the record of a run: its beginning, if it is text, without what looks secret."""

from __future__ import annotations

import codecs
import re

from mesh.logs import is_secret_name, redact

_MASKED = '"****"'
_LEFT_OUT = "…"
_Decoder = codecs.getincrementaldecoder("utf-8")
# A member of a JSON object, whole or cut off, whose value is no object or list.
_MEMBER = re.compile(r'"((?:[^"\\]|\\.){0,60})"(\s*:\s*)("(?:[^"\\]|\\.)*(?:"|\\?\Z)|[^\s,{}\[\]"]+)')


def kept(body: bytes, limit: int) -> str:
    """At most `limit` bytes of a body; empty where it is no text."""
    whole = len(body) <= limit
    try:
        text = _Decoder().decode(body[:limit], final=whole)
    except UnicodeDecodeError:
        return ""
    if "\0" in text or not limit:
        return ""
    return str(redact("", _MEMBER.sub(_masked, text if whole else text + _LEFT_OUT)))


def _masked(member: re.Match[str]) -> str:
    return f'"{member[1]}"{member[2]}{_MASKED}' if is_secret_name(member[1]) else member[0]
