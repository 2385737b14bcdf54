"""Code as text, and what is remembered of it: to look it up means to fetch and to unpack a source."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

CACHED_CHARACTERS = 16 * 1024 * 1024
_ENTRY_CHARACTERS = 200


@dataclass(frozen=True)
class Code:
    """What a function is made of, as far as it is text."""

    code: str = ""
    library: str | None = None
    is_whole: bool = True
    """Whether these are all that the source has: it can be packed again from them."""

    @property
    def characters(self) -> int:
        """How much it takes to keep."""
        return len(self.code) + len(self.library or "") + _ENTRY_CHARACTERS


class CodeCache:
    """What sources say, by digest: it never changes. The newest `limit` characters of it."""

    def __init__(self, limit: int = CACHED_CHARACTERS) -> None:
        self._limit = limit
        self._held = 0
        self._codes: OrderedDict[str, Code] = OrderedDict()

    def get(self, digest: str) -> Code | None:
        """What the source of that digest says, where it is known."""
        code = self._codes.get(digest)
        if code is not None:
            self._codes.move_to_end(digest)
        return code

    def put(self, digest: str, code: Code) -> None:
        """Remembers it, and forgets what was asked for longest ago."""
        known = self._codes.pop(digest, None)
        self._held += code.characters - (known.characters if known else 0)
        self._codes[digest] = code
        while self._held > self._limit:
            _, oldest = self._codes.popitem(last=False)
            self._held -= oldest.characters
