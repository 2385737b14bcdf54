"""Identifiers."""

from __future__ import annotations

import secrets
import threading
import time
import uuid

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_lock = threading.Lock()
_last = 0


def new_id(prefix: str, length: int = 12) -> str:
    """`prefix` and `length` random characters of base32, lower case: `new_id("fn-")`."""
    return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(length))


def new_sortable_id() -> str:
    """A UUID of version 7 (RFC 9562): sorts by the time it was made, also within this process's millisecond.

    The 12 bits after the milliseconds are a fraction of the millisecond (method 3 of section 6.2), and an id
    is always greater than the one made before it in this process.
    """
    global _last
    with _lock:
        stamp = (time.time_ns() << 12) // 1_000_000
        stamp = max(stamp, _last + 1)
        _last = stamp
    milliseconds, fraction = stamp >> 12, stamp & 0xFFF
    value = (milliseconds & (1 << 48) - 1) << 80
    value |= 0x7 << 76 | fraction << 64 | 0b10 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=value))
