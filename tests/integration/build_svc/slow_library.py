"""A library inside a source, with a build backend of its own: the authors' code that runs while libraries install."""

from __future__ import annotations

_BACKEND = """
import json, os, subprocess, sys, time, zipfile

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    told = {"uid": os.getuid(), "environ": dict(os.environ), "groups": os.getgroups()}
    told["writable"] = [path for path in %(probed)r if os.access(path, os.W_OK)]
    %(action)s
    name = "slowlib-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w") as wheel:
        wheel.writestr("slowlib.py", "TOLD = " + repr(json.dumps(told)))
        wheel.writestr("slowlib-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: slowlib\\nVersion: 1.0\\n")
        tag = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
        wheel.writestr("slowlib-1.0.dist-info/WHEEL", tag)
        wheel.writestr("slowlib-1.0.dist-info/RECORD", "")
    return name
"""

SLEEP = "time.sleep(600)"
_QUIET = "stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True"
LEAVE_A_PROCESS = f"subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], {_QUIET})"


def source(action: str = "pass", probed: tuple[str, ...] = ()) -> dict[str, str]:
    """Files of a function whose library does `action` while it is built, and says which of `probed` it may write."""
    return {
        "handler.py": "import slowlib\n\ndef handler(event):\n    return slowlib.TOLD\n",
        "requirements.txt": "./lib\n",
        "lib/pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "lib/backend.py": _BACKEND % {"action": action, "probed": probed},
    }
