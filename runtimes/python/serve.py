"""Entry of the Python server: `python -I [-S] serve.py --listen ... --app DIR --file handler.py`.

Run by path, so that nothing of this directory stays on `sys.path` of the user's code.
"""

import sys


def run() -> None:
    """Import the server, take its directory off the path again, and serve until told to stop."""
    here = __file__.rpartition("/")[0] or "."
    sys.path.insert(0, here)
    __import__("fnmesh_worker.server")
    sys.path.remove(here)
    server = sys.modules["fnmesh_worker.server"]
    server.main(sys.argv[1:])


if __name__ == "__main__":
    run()
