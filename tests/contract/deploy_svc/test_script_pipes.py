"""The pipes of scripts on the event loop of the services, beside threads that open files as deploy_svc's do."""

from __future__ import annotations

import subprocess
import sys

from tests.support.running_mesh import ROOT

_OPENS = """
import asyncio, os, sys, threading
import uvloop
from deploy_svc.scripts.pipes import Pipes

sys.setswitchinterval(1e-6)
lost, over = [], threading.Event()

def opens():
    while not over.is_set():
        try:
            os.listdir("/proc/self/fdinfo")
        except OSError as error:
            lost.append(error)

async def script(number):
    pipes, ended = Pipes(), asyncio.Event()
    try:
        async with pipes.reading(ended):
            os.write(pipes.writers[number % 2], b"a line\\n" * 3 + b"no end")
            pipes.close_writers()
            ended.set()
            return [line.text async for batch in pipes.lines() for line in batch]
    finally:
        pipes.close()

async def scripts():
    for number in range(500):
        assert await script(number) == [b"a line"] * 3 + [b"no end"]

threads = [threading.Thread(target=opens) for _ in range(3)]
for thread in threads:
    thread.start()
try:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scripts())
finally:
    over.set()
    for thread in threads:
        thread.join()
assert not lost, lost
print(len(os.listdir("/proc/self/fd")))
"""


def test_descriptors_are_closed_once() -> None:
    # whoever closes one twice takes it from the thread that was given its number in between
    done = subprocess.run(
        [sys.executable, "-c", _OPENS], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 16
