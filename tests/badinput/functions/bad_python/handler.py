"""Handlers that misbehave on purpose, one for each `?do=`; without it a good answer. Run by tests/badinput.

What `do` may name is in the modules beside this one: `do_NAME` for `handler`, `async_NAME` for `async_handler`.
"""

from __future__ import annotations

import os

import answers
import attacks
import ends
import never
import output
import too_much

KNOWN = {name: deed for part in (answers, attacks, ends, never, output, too_much) for name, deed in vars(part).items()}


def handler(event, context):
    """Answers who it is, or does what `do` says."""
    query = event.get("queryStringParameters") or {}
    what = query.pop("do", "")
    if what:
        return KNOWN[f"do_{what}"](**query)
    return {"pid": os.getpid()}


async def async_handler(event, context):
    """The same on the event loop."""
    query = event.get("queryStringParameters") or {}
    what = query.pop("do", "")
    if what:
        return await KNOWN[f"async_{what}"](**query)
    return {"pid": os.getpid()}
