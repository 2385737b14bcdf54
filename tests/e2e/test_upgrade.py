"""The data directory that an earlier version left is opened by this one (tests/golden/data-dir)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import golden_data
from tests.support.eventually import eventually_sync
from tests.support.running_mesh import RunningMesh

# The recorded times grow old; what is kept must not depend on when this runs.
_KEEP = {"FNMESH_INVOKE_EXECUTION_DAYS": "36500", "FNMESH_DEPLOY_LOG_DAYS": "36500"}


@dataclass(frozen=True)
class Upgraded:
    """This version's mesh on an earlier version's data: what was true of that, and what is found now."""

    mesh: RunningMesh
    facts: dict[str, Any]
    answer: Any
    found: dict[str, Any]


@pytest.fixture(scope="module", params=golden_data.versions())
def upgraded(request: pytest.FixtureRequest) -> Iterator[Upgraded]:
    facts = golden_data.facts(request.param)
    function, key = facts["function"], facts["apiKey"]["testOnly"]
    mesh = RunningMesh(environ={**_KEEP, "FNMESH_AUTH": "keys"})
    asked = {
        "env": ("env", "list", function, "--reveal"),
        "secrets": ("secret", "list", function),
        "builds": ("builds", function),
        "show": ("show", function),
        "executions": ("executions", function),
        "keys": ("key", "list"),
    }
    try:
        golden_data.restore(request.param, mesh.data_dir)
        mesh.start()
        answer = eventually_sync(lambda: _ok(f"{mesh.url}/api/{function}"), 30)
        found = {name: mesh.cli_json(*words, FNMESH_API_KEY=key) for name, words in asked.items()}
        yield Upgraded(mesh, facts, answer.json(), found)
        assert mesh.stop() == 0, mesh.errors()
    finally:
        mesh.remove()


def _ok(url: str) -> httpx.Response | None:
    answer = httpx.get(url, timeout=30, trust_env=False)
    return answer if answer.status_code == 200 else None


def test_there_is_an_earlier_version() -> None:
    assert golden_data.versions()


def _without_news(found: list[dict[str, Any]], recorded: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was found, of the fields that were recorded: later versions may say more."""
    assert len(found) == len(recorded)
    return [{name: one.get(name) for name in old} for one, old in zip(found, recorded, strict=True)]


def test_its_function_answers_with_its_env(upgraded: Upgraded) -> None:
    assert upgraded.answer == upgraded.facts["answer"]


def test_env_can_be_read_with_the_old_key_file(upgraded: Upgraded) -> None:
    assert upgraded.found["env"] == {"env": upgraded.facts["env"]}


def test_secrets_are_there(upgraded: Upgraded) -> None:
    recorded = upgraded.facts.get("secrets", [])  # the first version had none
    assert _without_news(upgraded.found["secrets"]["secrets"], recorded) == recorded


def test_history_is_there(upgraded: Upgraded) -> None:
    recorded = upgraded.facts["builds"]
    assert _without_news(upgraded.found["builds"]["builds"], recorded) == recorded
    assert len(upgraded.found["show"]["revisions"]) == upgraded.facts["revisions"]
    listed = {run["name"] for run in upgraded.found["executions"]["executions"]}
    assert {run["name"] for run in upgraded.facts["executions"]} <= listed


def test_api_keys_are_good_still(upgraded: Upgraded) -> None:
    recorded = upgraded.facts["apiKey"]["listed"]
    assert _without_news(upgraded.found["keys"]["apiKeys"], recorded) == recorded
    assert upgraded.mesh.cli("list", check=False).returncode == 1  # without a key


def test_a_rollback_and_a_new_deploy_work(upgraded: Upgraded, tmp_path: Path) -> None:
    mesh, function = upgraded.mesh, upgraded.facts["function"]
    key = {"FNMESH_API_KEY": upgraded.facts["apiKey"]["testOnly"]}
    url = f"{mesh.url}/api/{function}"
    mesh.cli("rollback", function, **key)
    eventually_sync(lambda: (got := _ok(url)) and got.json()["greeting"] == "first", 20)

    source = tmp_path / function
    source.mkdir()
    (source / "handler.py").write_text(golden_data.HANDLER.replace('"edition": 1', '"edition": 2'))
    mesh.cli("deploy", str(source), "--target", "process", **key)

    secret = upgraded.facts["answer"].get("secret", "none")
    assert httpx.get(url, trust_env=False).json() == {"greeting": "first", "secret": secret, "edition": 2}
