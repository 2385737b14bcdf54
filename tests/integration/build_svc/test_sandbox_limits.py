"""What a build's process cannot have: the network, more memory and CPU time than it may take, chance."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from build_svc import sandbox
from build_svc.spin.tools import REPEATABLE
from tests.support import require

PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
UID = 190_000 if os.geteuid() == 0 else None
DRAWN = """
import importlib.util, os, subprocess, sys
spec = importlib.util.spec_from_file_location("repeatable", sys.argv[1])
repeatable = importlib.util.module_from_spec(spec)
spec.loader.exec_module(repeatable)

def program():
    print(os.getrandom(8).hex())
    print(subprocess.run(["stat", "--format=%Y %i", sys.argv[1]], capture_output=True, text=True).stdout.strip())
    sys.exit(int(sys.argv[3]))

repeatable.run(program, "no such library", sys.argv[2])
print("not reached")
"""


async def ran(code: str, *arguments: str, limits: dict[str, int] | None = None) -> tuple[int, list[str]]:
    lines: list[str] = []

    async def keep(line: bytes) -> None:
        lines.append(line.decode())

    argv = [PYTHON, "-I", "-S", "-c", code, *arguments]
    status = await sandbox.run(
        argv, uid=UID, cwd=Path("/"), env={"PATH": "/usr/bin:/bin"}, on_line=keep, limits=limits, network=False
    )
    return status, lines


async def test_there_is_no_network_where_none_is_wanted() -> None:
    status, lines = await ran("print(open('/proc/net/dev').read())")
    interfaces = [line.split(":")[0].strip() for line in lines if ":" in line]

    if UID is None and interfaces != ["lo"]:
        require.missing("root", "the kernel lets nobody else take the network away here")
    assert (status, interfaces) == (0, ["lo"])


async def test_memory_and_cpu_time_have_limits() -> None:
    much, said = await ran("x = bytearray(2**30)", limits={"DATA": 2**28})
    endless, _ = await ran("while True: pass", limits={"CPU": 1})

    assert much == 1
    assert said[-1] == "MemoryError"
    assert endless == -signal.SIGXCPU


@pytest.mark.processor
async def test_random_numbers_and_files_are_the_same_whenever_they_are_asked_for(tmp_path: Path) -> None:
    script = tmp_path / "repeatable.py"
    script.write_bytes(REPEATABLE.read_bytes())
    if not sandbox.reachable(script):
        script = REPEATABLE
    one, said = await ran(DRAWN, str(script), "seed", "0")
    _, again = await ran(DRAWN, str(script), "seed", "0")
    other, others = await ran(DRAWN, str(script), "another seed", "7")

    assert (one, other) == (0, 7)
    assert said == again
    assert said[0] != others[0]
    assert said[1] == others[1]
    assert said[1].startswith("0 ")
