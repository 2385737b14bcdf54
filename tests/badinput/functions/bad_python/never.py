"""Never an answer, or none in order."""

from __future__ import annotations

import asyncio
import contextlib
import time


def do_sleep(seconds="3600"):
    time.sleep(float(seconds))


def do_spin():
    while True:
        pass


async def async_never():
    await asyncio.Event().wait()


async def async_refuse_to_end():
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)


async def async_block_loop():
    time.sleep(3600)  # noqa: ASYNC251 -- the mistake that is tested


async def async_cancel_all():
    for task in asyncio.all_tasks():
        task.cancel()
    await asyncio.sleep(0)


async def async_stop_loop():
    asyncio.get_running_loop().stop()
    await asyncio.sleep(3600)


async def async_raise():
    raise KeyError("async")


async def async_base_exception():
    raise KeyboardInterrupt
