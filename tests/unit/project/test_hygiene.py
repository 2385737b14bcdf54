"""What no file of the project may hold, and what must lie beside what."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

from tests.unit.project.sources import ROOT, is_stub, own_files

# As patterns, so that this file does not hold what they look for.
_REGISTRIES = re.compile(
    r"(?:pypi|pythonhosted|crates|npmjs|deb\.debian|security\.debian|proxy\.golang|registry-1\.docker)"
    r"\.(?:org|com|io)\b"
)
# /home/app is the unprivileged user's home inside containers, not one of a machine.
_MACHINE_PATHS = re.compile(r"(?<![\w.\-/}])/(?:root|work|Users|home/(?!app\b)[\w<]+)/|\.\./shar" + "ed/")
_BINARY = {".png", ".gif", ".ico", ".zip", ".gz", ".wasm", ".pdf", ".woff2"}


def test_no_file_names_a_package_registry() -> None:
    assert _lines_with(_REGISTRIES) == []


def test_no_file_names_a_path_of_somebodys_machine() -> None:
    assert _lines_with(_MACHINE_PATHS) == []


def test_npm_locks_do_not_say_where_packages_were_found() -> None:
    for lock in (path for path in own_files() if path.name == "package-lock.json"):
        packages = json.loads(lock.read_text())["packages"]
        assert [name for name, package in packages.items() if "resolved" in package] == [], lock


def test_python_packages_are_pinned_with_hashes_in_requirements_locks_only() -> None:
    assert not (ROOT / "uv.lock").exists()
    for lock in ROOT.glob("requirements*.lock"):
        pins = re.findall(r"^[\w.\-\[\]]+==.*$", lock.read_text(), re.MULTILINE)
        assert pins, lock
        assert [pin for pin in pins if not pin.endswith("\\")] == [], f"{lock.name}: without a hash"


def test_every_direct_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {"requirements.lock": project["dependencies"]}
    wanted["requirements-dev.lock"] = project["dependencies"] + project["optional-dependencies"]["dev"]
    for lock, requirements in wanted.items():
        pinned = set(re.findall(r"^([\w.\-]+)(?:\[.*\])?==", (ROOT / lock).read_text(), re.MULTILINE))
        names = {re.split(r"[\[<>=~! ;]", requirement, maxsplit=1)[0].lower() for requirement in requirements}
        assert names - pinned == set(), f"{lock}: run make lock"


def test_every_proto_has_its_stubs_and_every_stub_its_proto() -> None:
    protos = {path.with_suffix("") for path in own_files() if path.suffix == ".proto"}
    stubs = {path for path in own_files() if is_stub(path)}
    expected = {
        Path(f"{proto}{ending}")
        for proto in protos
        for ending in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")
    }
    assert stubs == expected, "run make protos"


def _lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: {match.group()}"
        for path in own_files()
        if path.suffix not in _BINARY
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if (match := pattern.search(line))
    ]
