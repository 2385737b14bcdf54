"""Runs pip so that it unpacks wheels and starts no program: what has to be run to be installed is not.

    python -I run_pip.py PIP_DIRECTORY install argument...

`--only-binary` holds for what comes from an index, and not for what a wheel that came from elsewhere asks for in turn.
"""

import runpy
import sys

REFUSED = "no program is started to install a component's libraries"
_STARTING = frozenset(
    ["subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "pty.spawn"]
)


def refuse(event: str, arguments: object) -> None:
    """An audit hook, which nothing can take away again."""
    if event in _STARTING:
        raise PermissionError(REFUSED)


if __name__ == "__main__":
    sys.addaudithook(refuse)
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
