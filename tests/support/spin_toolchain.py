"""The Spin toolchain, installed once for all tests of this machine, and the component of examples/hello_spin.

    python -m tests.support.spin_toolchain        # makes both, prints where they are

Made by build_svc itself, in a process of its own, in the first test that asks; `lend` gives a builder's work
directory what is there. Nothing in it is changed by those that borrow it.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from build_svc.settings import BuildSettings
from build_svc.spin import componentizing
from build_svc.spin import tools as spin_tools
from fnmesh.build.v1 import build_pb2 as builds
from tests.support.state_dir import file_lock, state_dir

ROOT = Path(__file__).parents[2]
HELLO = ROOT / "examples" / "hello_spin"
_TIMEOUT_S = 360
_MADE_FROM = ("build_spin_sdk_version", "build_spin_componentize_version", "build_spin_mypy_version")


def ensure() -> Path:
    """A directory with `toolchain` and `cache` as builders have them. Raises RuntimeError."""
    home = state_dir() / f"spin-{_key()}"
    with file_lock(state_dir() / "spin.lock"):
        if not home.is_dir():
            done = subprocess.run(
                [sys.executable, "-m", "tests.support.spin_toolchain", "--make", str(home)],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
            if done.returncode != 0:
                raise RuntimeError(f"no Spin toolchain could be made: {done.stderr[-2000:]}")
    return home


def lend(home: Path, work_dir: Path, *, cache: bool = True) -> None:
    """Make the work directory of a builder that has not begun yet, with the toolchain, and components and compiled
    code if `cache`."""
    for part in ("toolchain", *(["cache"] if cache else [])):
        (work_dir / part).mkdir(mode=0o755, parents=True, exist_ok=True)
        for made in (home / part).glob("[!.]*"):
            (work_dir / part / made.name).symlink_to(made)


def lent(work_dir: Path) -> dict[str, str]:
    """The settings of a builder that works in that directory, with all that is there."""
    work_dir.mkdir(exist_ok=True)
    work_dir.chmod(0o755)
    lend(ensure(), work_dir)
    return {"FNMESH_BUILD_WORK_DIR": str(work_dir)}


def component(home: Path) -> bytes:
    """The component of examples/hello_spin, as componentize-py made it."""
    (found,) = home.glob("cache/*/tree/app.wasm")
    return found.read_bytes()


def hello(**changed: str) -> dict[str, str]:
    """The files of examples/hello_spin, some of them changed or added."""
    files = {path.name: path.read_text() for path in HELLO.iterdir() if path.suffix in (".py", ".toml")}
    return files | {name.replace("__", "."): text for name, text in changed.items()}


async def _make(home: Path) -> None:
    from tests.contract.build_svc.build_world import lines, running_world, zipped

    root, run_dir = (Path(tempfile.mkdtemp(prefix=prefix, dir=home.parent)) for prefix in (".spin-", ".run-"))
    try:
        root.chmod(0o755)
        settings = {"FNMESH_BUILD_WORK_DIR": str(root / "work")}
        async with running_world(root, run_dir, **settings) as (_, client):
            build, events = await client.build("hello.zip", zipped(hello()))
            if build.state != builds.BUILD_STATE_DONE:
                raise RuntimeError("\n".join([build.error, *lines(events)]))
        shutil.rmtree(root / "work" / "scratch")
        (root / "work").rename(home)
    finally:
        for directory in (root, run_dir):
            shutil.rmtree(directory, ignore_errors=True)


def _key() -> str:
    fields = BuildSettings.model_fields
    parts = [str(fields[name].default) for name in _MADE_FROM] + [sys.version]
    made_by = [spin_tools.RUN_TOOL, spin_tools.REPEATABLE, Path(componentizing.__file__)]
    parts += [f"{path.name}\0{path.read_text()}" for path in [*made_by, *sorted(HELLO.glob("*.*"))]]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--make"]:
        asyncio.run(_make(Path(sys.argv[2])))
    else:
        print(ensure())
