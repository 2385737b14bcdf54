"""`python -m cli.demo`: a mesh with two functions to try, in the foreground until Ctrl-C.

FNMESH_DEMO_LISTEN chooses another address than 127.0.0.1:8080; where that is taken and none was chosen, a free
port is used. Its data is kept apart from that of `fnmesh up`, in FNMESH_DEMO_DATA_DIR where that is set.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path

from cli.errors import CommandError
from cli.up.child import send_signal
from cli.up.listen import Listen, claim, parse_listen
from cli.up.places import default_data_dir

ROOT = Path(__file__).parent.parent
_BEGIN_S = 120.0


async def demo() -> int:
    """Starts `fnmesh up`, deploys the examples, and waits for it. Returns the exit code."""
    chosen = os.environ.get("FNMESH_DEMO_DATA_DIR")
    data_dir = Path(chosen) if chosen else default_data_dir().with_name("fnmesh-demo")
    listen = _listen()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli", "up", "--data-dir", str(data_dir), "--listen", listen.address, "--json",
        stdout=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, send_signal, process, number)
    print("Starting the mesh ...", flush=True)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(_BEGIN_S):
            ready = await process.stdout.readline()
        if ready:
            await _fnmesh("seed", "--server", listen.address)
            deployed = [name for name in _examples() if await _deploy(name, listen)]
            print(_what_to_try(listen, deployed), flush=True)
        return await process.wait()
    finally:
        send_signal(process, signal.SIGTERM)
        await process.wait()


def _listen() -> Listen:
    chosen = os.environ.get("FNMESH_DEMO_LISTEN")
    if chosen:
        return claim(parse_listen(chosen))
    try:
        return claim(Listen("127.0.0.1", 8080))
    except CommandError:
        return claim(Listen("127.0.0.1", 0))


def _examples() -> list[str]:
    return ["hello_python", *(["hello_node"] if shutil.which("node") and shutil.which("npm") else [])]


async def _deploy(name: str, listen: Listen) -> bool:
    """Deploys an example to the default target, or as a process where that cannot be (no image to be had, say)."""
    if await _run("deploy", f"examples/{name}", listen):
        return True
    print("That did not work; trying it as a process, without Docker.", flush=True)
    return await _run("deploy", f"examples/{name}", listen, "--target", "process")


async def _run(command: str, source: str, listen: Listen, *options: str) -> bool:
    print(f"\n$ fnmesh {' '.join([command, source, *options])}", flush=True)
    return await _fnmesh(command, str(ROOT / source), "--server", listen.address, *options)


async def _fnmesh(*arguments: str) -> bool:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "cli", *arguments, start_new_session=True)
    return await process.wait() == 0


def _what_to_try(listen: Listen, deployed: list[str]) -> str:
    lines = ["", f"The mesh answers at {listen.url}. In another terminal, try:", ""]
    if listen.port != 8080:
        lines.append(f"  export FNMESH_SERVER={listen.address}")
    lines += [f"  curl -i '{listen.url}/api/{function}?name=you'" for function in deployed]
    if deployed:
        function = deployed[0]
        lines += [
            f'  fnmesh invoke {function} -d \'{{"name": "you"}}\'',
            f"  fnmesh logs {function} -f",
            f"  fnmesh env set {function} GREETING=hi",
            f"  fnmesh executions {function}",
            "  fnmesh trace <the x-trace-id of an answer>",
            f"  fnmesh rollback {function}",
        ]
    lines += ["  fnmesh new mine && fnmesh deploy mine", "", "Ctrl-C drains and stops it."]
    return "\n".join(lines)


def main() -> None:
    """Runs the demo."""
    try:
        sys.exit(asyncio.run(demo()))
    except CommandError as error:
        sys.exit(f"fnmesh: {error}")
    except TimeoutError:
        sys.exit("fnmesh: The mesh did not start in time; `fnmesh up` tells why.")


if __name__ == "__main__":
    main()
