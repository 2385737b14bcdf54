"""deploy/Dockerfile takes what the project is made of, and Envoy's image what starts and stops it."""

from __future__ import annotations

import importlib.util
import re
import sys
import tomllib
from types import ModuleType

from docker.utils.build import exclude_paths

from tests.unit.project.sources import ROOT, imported_by

_TEXT = (ROOT / "deploy/Dockerfile").read_text()


def _finish() -> ModuleType:
    spec = importlib.util.spec_from_file_location("finish", ROOT / "deploy/finish.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _copied() -> set[str]:
    """What is copied from the project, wheels aside."""
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", _TEXT, re.MULTILINE)
    return {word for line in lines for word in line.split()} - {"deploy/wheels*"}


def test_all_packages_are_copied() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]

    assert {package.split("/")[0] for package in packages} <= _copied()
    assert {package.split("/")[-1] for package in packages} == set(_finish()._PARTS)


def test_what_is_copied_is_what_the_context_has() -> None:
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    context = {path for path in exclude_paths(str(ROOT), patterns) if (ROOT / path).is_file()}
    copied = _copied()

    assert {one for one in copied if not (ROOT / one).exists()} == set()
    assert all(any(path == one or path.startswith(f"{one}/") for path in context) for one in copied)
    others = {path for path in context if not any(path == one or path.startswith(f"{one}/") for one in copied)}
    assert {path for path in others if not path.startswith("deploy/wheels/")} <= {".dockerignore"}


def test_an_image_ends_as_a_user_that_is_nobody() -> None:
    stages = re.split(r"^FROM ", _TEXT, flags=re.MULTILINE)[2:]

    assert len(stages) == 2
    assert all(re.search(r"^USER 10001:10001$", stage, re.MULTILINE) for stage in stages)
    assert not any("PIP_" in stage for stage in stages)


def test_envoys_modules_need_nothing_but_python_and_envoy() -> None:
    modules = [str(one) for one in _finish()._MODULES]
    own = {one.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for one in modules}

    for one in modules:
        for name in imported_by(ROOT / one):
            assert name.split(".")[0] in sys.stdlib_module_names | {"envoy"} or any(
                name == module or name.startswith(f"{module}.") for module in own if module != "gateway"
            ), f"{one} imports {name}"
