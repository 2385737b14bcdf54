"""What `fnmesh doctor` says of servers that are there."""

from __future__ import annotations

from collections.abc import Mapping

from cli.commands.doctor import Finding
from cli.optional_parts import look_at_parts

_NOWHERE = "tcp://127.0.0.1:1"  # nothing listens on port 1


def _found(environ: Mapping[str, str]) -> dict[str, Finding]:
    return {one.what: one for one in look_at_parts(environ)}


def test_a_docker_daemon_that_answers_is_there(docker_host: str) -> None:
    found = _found({"DOCKER_HOST": docker_host})["docker"]

    assert found.state == "ok"
    assert found.detail.endswith(f" at {docker_host}")


def test_a_database_that_answers_is_there(postgres_url: str) -> None:
    found = _found({"DOCKER_HOST": _NOWHERE, "FNMESH_DATABASE_URL": postgres_url})

    assert found["postgresql"].state == "ok"
    assert "pg_dump" in found
