"""What of a body is kept with the record of a run: its beginning, if it is text, without what looks secret.

Members of JSON objects are looked for in texts that may be cut off, or no JSON at all, from the left to the right: a
member is a quoted name of at most 60 characters, a colon, and a value that is no object or list. This is done for the
callers of functions, and whoever writes a body must not make it slow: what begins with a quote and is no member is
passed over as a whole, and not tried again from each quote that is escaped in it.
"""

from __future__ import annotations

import codecs
import re

from mesh.logs import is_secret_name, may_hold_secret_name, redact

_MASKED = '"****"'
_LEFT_OUT = "…"
_NAME_CHARACTERS = 60
_Decoder = codecs.getincrementaldecoder("utf-8")
_CHARACTER = r'(?:[^"\\]|\\.)'
_CHARACTERS = r'[^"\\]*(?:\\.[^"\\]*)*'
_VALUE = rf'(?:"{_CHARACTERS}(?:"|\\?\Z)|[^\s,{{}}\[\]"]+)'
_MEMBER = rf'"(?P<name>{_CHARACTER}{{0,{_NAME_CHARACTERS}}})"(?P<colon>\s*:\s*){_VALUE}'
_NO_MEMBERS = rf'(?:"{_CHARACTERS}(?:(?="(?!\s*:\s*{_VALUE}))|(?=\\\n)|\\?\Z))+'
_TOO_LONG = rf'"(?P<long>{_CHARACTERS})'
_STEP = re.compile(f"{_MEMBER}|{_NO_MEMBERS}|{_TOO_LONG}")
_EACH_CHARACTER = re.compile(_CHARACTER)


def kept(body: bytes, limit: int) -> str:
    """At most `limit` bytes of a body; empty where it is no text."""
    whole = len(body) <= limit
    try:
        text = _Decoder().decode(body[:limit], final=whole)
    except UnicodeDecodeError:
        return ""
    if "\0" in text or not limit:
        return ""
    if not whole:
        text += _LEFT_OUT
    has_secrets = '"' in text and may_hold_secret_name(text)
    return str(redact("", _masked(text) if has_secrets else text))


def _masked(text: str) -> str:
    """The text with the values of secret members struck out."""
    shown, done, at = [], 0, 0
    while (step := _STEP.search(text, at)) is not None:
        at = step.end()
        name, long = step["name"], step["long"]
        if name is not None and is_secret_name(name):
            shown += [text[done : step.end("colon")], _MASKED]
            done = at
        elif long is not None:
            at -= _from_last_name(long)
    return "".join([*shown, text[done:]])


def _from_last_name(long: str) -> int:
    """How far before the end of what is too long for a name one begins, at an escaped quote; 0 where none does."""
    characters = _EACH_CHARACTER.findall(long)[-_NAME_CHARACTERS - 1 :]
    if '\\"' not in characters:
        return 0
    return 1 + sum(map(len, characters[characters.index('\\"') + 1 :]))
