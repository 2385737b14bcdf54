"""The project's own files, and what they import."""

from __future__ import annotations

import ast
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[3]
_STUB_ENDINGS = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


@cache
def own_files() -> tuple[Path, ...]:
    """Every file that is or could be committed: tracked or new, not ignored and not deleted."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(sorted(path for name in set(listed.stdout.split("\0")) if name and (path := ROOT / name).is_file()))


def is_stub(path: Path) -> bool:
    return path.name.endswith(_STUB_ENDINGS)


def modules_in(folder: str) -> list[Path]:
    """The handwritten Python files below `folder`."""
    return [path for path in own_files() if path.is_relative_to(ROOT / folder) and _is_handwritten_python(path)]


def imported_by(path: Path) -> dict[str, int]:
    """The absolute names of modules that the file imports, wherever in it, with the line of each."""
    found: dict[str, int] = {}
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(path, node)
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            found.setdefault(name, node.lineno)
    return found


def _absolute(path: Path, node: ast.ImportFrom) -> str:
    if node.level == 0:
        return node.module or ""
    package = path.relative_to(ROOT).parts[: -node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


def _is_handwritten_python(path: Path) -> bool:
    return path.suffix == ".py" and not is_stub(path)
