"""docs/cluster.md names what there is: values, settings, variables, files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from tests.support.compose import FILE
from tests.support.helm import CHART, ROOT
from tests.unit.project.sources import modules_in

_PAGE = (ROOT / "docs/cluster.md").read_text()
_WHOLE = {"autoscaling", "resources", "service", "env", "labels", "nodeSelector"}
"""Values that are told of as one."""


def _values(values: dict[str, Any], above: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict) and name not in _WHOLE:
            yield from _values(value, f"{above}{name}.")
        else:
            yield f"{above}{name}"


def test_every_value_is_told_of_and_every_one_told_of_is_there() -> None:
    table = _PAGE[_PAGE.index("### Values") : _PAGE.index("### Who may do what")]
    told = {
        name
        for row in table.splitlines()
        if row.startswith("| `")
        for name in re.findall(r"`([\w.]+)`", row.split("|")[1])
    }

    assert told == set(_values(yaml.safe_load((CHART / "values.yaml").read_text())))


def test_every_value_has_a_rule() -> None:
    """A key that values.schema.json does not know is refused, so all of values.yaml is in it; and the reverse."""

    def known(schema: dict[str, Any], above: str = "") -> Iterator[str]:
        for name, one in schema["properties"].items():
            if "properties" in one and name not in _WHOLE:
                yield from known(one, f"{above}{name}.")
            else:
                yield f"{above}{name}"

    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(known(schema)) - {"global"} == set(_values(yaml.safe_load((CHART / "values.yaml").read_text())))


def test_every_setting_of_the_page_exists() -> None:
    sources = "\n".join(
        module.read_text()
        for folder in ("mesh", "registry_svc", "build_svc", "deploy_svc", "invoke_svc", "gateway")
        for module in modules_in(folder)
        if module.name == "settings.py"
    )
    fields = {name.upper() for name in re.findall(r"^    ([a-z_]+): ", sources, re.MULTILINE)}

    assert set(re.findall(r"FNMESH_([A-Z_]+)", _PAGE)) - fields == {
        "SERVICES_IMAGE",
        "ENVOY_IMAGE",
    }  # of the compose file


def test_every_variable_of_the_compose_file_is_on_the_page() -> None:
    taken = set(re.findall(r"\$\{(\w+)", FILE.read_text()))

    assert {name for name in taken if name not in _PAGE} == set()


def test_every_file_of_the_page_exists() -> None:
    named = set(re.findall(r"\bdeploy/[\w./-]+", _PAGE)) - {"deploy/fnmesh-registry"}

    assert {name for name in named if not (ROOT / name.rstrip(".")).exists()} <= {"deploy/wheels/"}


def test_the_readme_has_the_same_five_commands() -> None:
    readme = (ROOT / "README.md").read_text()
    block = next(one for one in _PAGE.split("```sh\n") if one.startswith("kubectl create namespace")).split("```")[0]

    assert block in readme
    assert len(re.findall(r"^(?:kubectl|helm) ", block, re.MULTILINE)) == 5
