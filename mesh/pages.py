"""Page sizes and page tokens (AIP-158). A token is opaque, not secret: it says where a listing goes on."""

from __future__ import annotations

import base64
import hashlib
import json

from mesh.errors import InvalidArgument

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000

_MAX_PART_CHARACTERS = 512

Position = list[str | int]


def page_size(asked: int, *, default: int = DEFAULT_PAGE_SIZE, maximum: int = MAX_PAGE_SIZE) -> int:
    """Rows of a page: the default where zero was asked, never above the maximum. InvalidArgument below zero."""
    if asked < 0:
        message = "page_size must not be negative."
        raise InvalidArgument("PAGE_SIZE_INVALID", message, fields={"page_size": message})
    return min(asked, maximum) if asked else default


def encode_token(query: str, position: Position) -> str:
    """A token that goes on after `position` (sort key of the last row) in the listing that `query` names."""
    payload = json.dumps([_fingerprint(query), *position], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(payload).decode().rstrip("=")


def decode_token(query: str, token: str, kinds: tuple[type, ...] | None = None) -> Position | None:
    """The position in a token; None for an empty one. InvalidArgument where it belongs to another listing.

    Anybody can make up a token: `kinds` are the types (str, int) that the position must have, one for each part,
    and what no database takes (a NUL character, a number of more than 64 bits) is refused here.
    """
    if not token:
        return None
    position: Position = []
    try:
        payload = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        fingerprint, *position = payload
        good = fingerprint == _fingerprint(query) and all(_is_part(one) for one in position)
        good = good and (kinds is None or [type(one) for one in position] == list(kinds))
    except (ValueError, TypeError, RecursionError):
        good = False
    if not good:
        message = "page_token is not one that the same listing gave; start again without it."
        raise InvalidArgument("PAGE_TOKEN_INVALID", message, fields={"page_token": message})
    return list(position)


def _is_part(one: object) -> bool:
    if isinstance(one, str):
        return "\0" not in one and one.isprintable() and len(one) <= _MAX_PART_CHARACTERS
    return type(one) is int and abs(one) < 2**63


def _fingerprint(query: str) -> str:
    return hashlib.sha256(query.encode()).hexdigest()[:8]
