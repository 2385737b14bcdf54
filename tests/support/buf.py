"""The buf command on this project's protos, without a network.

    python -m tests.support.buf lint        # buf's STANDARD and COMMENTS rules, see buf.yaml
    python -m tests.support.buf breaking    # against the newest tag, else against the last commit
    python -m tests.support.buf ARGUMENT... # anything else, in the project's directory

`google/api` and `google/rpc` come from the installed googleapis-common-protos: they are copied to
.cache/googleapis, which buf.yaml names as a module of the workspace.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
_GOOGLEAPIS = Path(".cache/googleapis")
_IMPORTED = ("google/api", "google/rpc")


def find_buf() -> str | None:
    """The project's own buf (npm), else one on PATH."""
    own = ROOT / "node_modules/.bin"
    return shutil.which("buf", path=os.pathsep.join([str(own), os.environ.get("PATH", "")]))


def why_missing() -> str | None:
    """Why buf cannot be run; None if it can."""
    return None if find_buf() else "buf is not installed (make setup-dev installs it where npm is)"


def lint() -> int:
    """Exit status of `buf lint`; its findings go to stdout."""
    return run(["lint", "protos"])


def breaking() -> int:
    """Exit status of `buf breaking` against what was released last; 0 if nothing was yet."""
    base = _newest_release()
    if base is None:
        print("buf breaking: no commit holds protos yet, nothing to compare with")
        return 0
    with tempfile.TemporaryDirectory(prefix="fnmesh-buf-") as scratch:
        archive = subprocess.run(["git", "archive", base, "protos"], cwd=ROOT, capture_output=True, check=True)
        subprocess.run(["tar", "-x", "-C", scratch], input=archive.stdout, check=True)
        shutil.copy2(ROOT / "buf.yaml", scratch)
        supply_googleapis(Path(scratch))
        image = Path(scratch) / "before.binpb"
        built = _buf(["build", "protos", "-o", str(image)], cwd=Path(scratch))
        print(f"buf breaking: against {base}", flush=True)
        return built or run(["breaking", "protos", "--against", str(image)])


def run(arguments: list[str], *, root: Path = ROOT) -> int:
    """Exit status of buf with `arguments` in `root`, which holds a buf.yaml like the project's."""
    supply_googleapis(root)
    return _buf(arguments, cwd=root)


def supply_googleapis(root: Path) -> None:
    """Copy what our protos may import from the installed package to where buf.yaml says, below `root`."""
    target = root / _GOOGLEAPIS
    for package in _IMPORTED:
        spec = importlib.util.find_spec(package.replace("/", "."))
        if spec is None or not spec.submodule_search_locations:
            raise RuntimeError("googleapis-common-protos is not installed in this environment")
        (target / package).mkdir(parents=True, exist_ok=True)
        for proto in Path(next(iter(spec.submodule_search_locations))).glob("*.proto"):
            shutil.copy2(proto, target / package / proto.name)


def _newest_release() -> str | None:
    for question in (["describe", "--tags", "--abbrev=0"], ["rev-parse", "--verify", "--quiet", "HEAD"]):
        answer = subprocess.run(["git", *question], cwd=ROOT, capture_output=True, text=True, check=False)
        commit = answer.stdout.strip()
        if answer.returncode == 0 and _has_protos(commit):
            return commit
    return None


def _has_protos(commit: str) -> bool:
    listed = subprocess.run(
        ["git", "ls-tree", "-r", "--name-only", commit, "protos"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return ".proto\n" in listed.stdout


def _buf(arguments: list[str], *, cwd: Path) -> int:
    program = find_buf()
    if program is None:
        print(why_missing(), file=sys.stderr)
        return 127
    return subprocess.run([program, *arguments], cwd=cwd, check=False).returncode


def main(arguments: list[str]) -> int:
    match arguments:
        case ["lint"]:
            return lint()
        case ["breaking"]:
            return breaking()
        case []:
            print(__doc__, file=sys.stderr)
            return 2
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
