"""Times as callers write them: seconds or nanoseconds since the epoch, or RFC 3339."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import StringConstraints

_DATE = r"[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,9})?)?"
_RFC_3339 = rf"{_DATE}[Tt ]{_CLOCK}([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])?"
_EPOCH = r"[0-9]{1,10}(\.[0-9]{1,9})?|[0-9]{13}|[0-9]{19}"
TIME = rf"^({_EPOCH}|{_RFC_3339})$"

Time = Annotated[str, StringConstraints(pattern=TIME)]

_START = datetime(1970, 1, 1, tzinfo=UTC)


def time_of(text: str) -> datetime:
    """The time that a text of the form TIME says; UTC where it names no zone. 31 February is 3 March."""
    if re.fullmatch(_EPOCH, text):
        digits = {13: 1000, 19: 10**9}.get(len(text), 1) if text.isdecimal() else 1
        return _START + timedelta(
            microseconds=round(float(text) * 10**6) if digits == 1 else int(text) * 10**6 // digits
        )
    date, clock = text[:10], text[11:]
    zone = timedelta()
    if clock[-1] in "Zz":
        clock = clock[:-1]
    elif clock[-6:-5] in ("+", "-"):
        sign = 1 if clock[-6] == "+" else -1
        zone = sign * timedelta(hours=int(clock[-5:-3]), minutes=int(clock[-2:]))
        clock = clock[:-6]
    year, month, day = (int(part) for part in date.split("-"))
    hours, minutes, seconds = (*clock.split(":"), "0")[:3]
    passed = timedelta(days=day - 1, hours=int(hours), minutes=int(minutes), microseconds=round(float(seconds) * 10**6))
    return datetime(year, month, 1, tzinfo=UTC) + passed - zone
