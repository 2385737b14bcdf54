"""docs/operations.md names what there is: events, settings, reasons, commands."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.support.operations_page import PAGE, blocks
from tests.unit.project.sources import ROOT, modules_in

_SERVICES = ("mesh", "registry_svc", "build_svc", "deploy_svc", "invoke_svc", "gateway")


def _sources(*folders: str) -> str:
    return "\n".join(module.read_text() for folder in folders for module in modules_in(folder))


def _table(heading: str) -> list[str]:
    """The first cells of the table with that first heading."""
    lines = PAGE.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    cells = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            return cells
        cells.append(line.split("|")[1])
    return cells


def test_every_event_of_the_page_is_logged_somewhere() -> None:
    named = {word for cell in _table("alert on") for word in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", cell)}
    named -= {word for word in named if word.startswith("envoy_cluster_")}
    logged = set(re.findall(r'log\.(?:info|warning|error|exception)\(\s*"([a-z_]+)"', _sources(*_SERVICES)))

    assert len(named) > 20
    assert named - logged == set()


def test_every_warning_and_error_is_on_the_page() -> None:
    """Who adds one says there what it means."""
    logged = set(re.findall(r'log\.(?:warning|error|exception)\(\s*"([a-z_]+)"', _sources(*_SERVICES)))
    page = PAGE.read_text()

    missing = {event for event in logged if f"`{event}`" not in page}
    assert missing == set(), "say in the table of docs/operations.md what these mean and what to do"


def test_every_reason_of_the_page_is_given_somewhere() -> None:
    sources = _sources("invoke_svc")
    named = [word for cell in _table("reason in `error` of an execution") for word in re.findall(r"`([A-Z_]+)`", cell)]

    assert len(named) > 4
    assert [reason for reason in named if not re.search(rf'"{reason}\b', sources)] == []


def test_every_setting_of_the_page_exists() -> None:
    named = set(re.findall(r"FNMESH_([A-Z_]+)", PAGE.read_text()))
    fields = {name.upper() for name in re.findall(r"^    ([a-z_]+): ", _sources(*_SERVICES), re.MULTILINE)}

    assert named - fields == set()


def test_every_command_of_the_page_exists() -> None:
    written = re.findall(r"(?:`|^)fnmesh ([a-z]+(?: (?:set|backup|upgrade|revoke))?)", PAGE.read_text(), re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-m", "cli", "completion", "bash"], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert written
    assert [command for command in written if f'"options:{command}")' not in done.stdout] == []


def test_the_blocks_are_those_that_are_tested() -> None:
    tested = (ROOT / "tests/e2e/test_operations_restore.py").read_text()

    assert [name for name in blocks() if f'"{name}"' not in tested] == []
