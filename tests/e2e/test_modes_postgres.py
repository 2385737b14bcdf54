"""The whole mesh with its tables in PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import httpx
import pytest

from tests.e2e.conftest import MakeSource
from tests.support import processes
from tests.support.eventually import eventually_sync
from tests.support.running_mesh import RunningMesh

HELLO = """
    import os

    def handler(event):
        print("said by", os.getpid())
        return {"greeting": os.environ.get("GREETING", ""), "edition": 1}
"""
SCHEMAS = ("registry", "build", "deploy", "invoke")


@pytest.fixture
def on_postgres(postgres_url: str) -> Iterator[RunningMesh]:
    """A mesh with all tables in a database of its own; not started yet."""
    running = RunningMesh(environ={"FNMESH_DATABASE_URL": postgres_url})
    try:
        yield running
    finally:
        running.remove()


def _query(url: str, statement: str) -> list[tuple[Any, ...]]:
    async def run() -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        try:
            return [tuple(row) for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    return asyncio.run(run())


def _tables(url: str) -> set[tuple[str, str]]:
    return {
        (schema, table)
        for schema, table in _query(url, "SELECT schemaname, tablename FROM pg_tables")
        if schema in SCHEMAS or schema == "public"
    }


def _answer(mesh: RunningMesh, path: str) -> Any:
    try:
        answer = httpx.get(f"{mesh.url}{path}", timeout=10, trust_env=False)
    except httpx.HTTPError:
        return None
    return answer.json() if answer.status_code == 200 else None


def test_everything_is_kept_across_a_restart(
    on_postgres: RunningMesh, postgres_url: str, make_source: MakeSource
) -> None:
    mesh = on_postgres.start()
    source = make_source("kept-pg", **{"handler.py": HELLO})
    mesh.cli("deploy", str(source), "--target", "process", "--env", "GREETING=hi")
    assert _answer(mesh, "/api/kept-pg") == {"greeting": "hi", "edition": 1}
    assert json.loads(mesh.cli("invoke", "kept-pg", "-d", "{}").stdout)["edition"] == 1
    runs = eventually_sync(
        lambda: (got := mesh.cli_json("executions", "kept-pg")["executions"])[1:] and got, 10, interval_s=0.2
    )
    builds = mesh.cli_json("builds", "kept-pg")
    assert mesh.stop() == 0, mesh.errors()
    assert not list((mesh.data_dir / "db").glob("*.db*"))

    mesh.start()

    assert eventually_sync(lambda: _answer(mesh, "/api/kept-pg"), 30)["greeting"] == "hi"
    assert mesh.cli_json("builds", "kept-pg") == builds
    names = {run["name"] for run in mesh.cli_json("executions", "kept-pg")["executions"]}
    assert {run["name"] for run in runs} <= names
    mesh.cli("env", "set", "kept-pg", "GREETING=hello")
    assert eventually_sync(lambda: (got := _answer(mesh, "/api/kept-pg")) and got["greeting"] == "hello", 20)
    mesh.cli("rollback", "kept-pg")
    assert eventually_sync(lambda: (got := _answer(mesh, "/api/kept-pg")) and got["greeting"] == "hi", 20)
    mesh.cli("delete", "kept-pg")
    assert _answer(mesh, "/api/kept-pg") is None
    assert {schema for schema, _ in _tables(postgres_url)} == set(SCHEMAS)
    assert mesh.stop() == 0, mesh.errors()


def test_lost_connections_are_made_again(on_postgres: RunningMesh, postgres_url: str, make_source: MakeSource) -> None:
    mesh = on_postgres.start()
    mesh.cli("deploy", str(make_source("cut-off", **{"handler.py": HELLO})), "--target", "process")
    services = {name: mesh.service_pid(name) for name in SCHEMAS}

    _query(
        postgres_url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )

    assert _answer(mesh, "/api/cut-off")
    mesh.cli("list")
    mesh.cli("deploy", str(make_source("cut-off", **{"handler.py": HELLO + "    # 2\n"})), "--target", "process")
    assert {name: mesh.service_pid(name) for name in SCHEMAS} == services
    assert all(processes.is_running(pid) for pid in services.values())


def test_upgrade_makes_all_tables_and_may_be_repeated(on_postgres: RunningMesh, postgres_url: str) -> None:
    made = []
    for _ in range(2):
        upgraded = on_postgres.cli_json("db", "upgrade", "--data-dir", str(on_postgres.data_dir))
        assert upgraded == {"upgraded": list(SCHEMAS)}
        made.append(_tables(postgres_url))

    assert made[0] == made[1]
    assert {schema for schema, _ in made[0]} == set(SCHEMAS)


def test_database_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    url = "postgresql://mesh:hush-hush@127.0.0.1:1/fnmesh"
    running = RunningMesh(environ={"FNMESH_DATABASE_URL": url, "FNMESH_UP_START_TIMEOUT_S": "30"})
    try:
        for command in (("db", "upgrade"), ("up", "--listen", "127.0.0.1:0")):
            done = running.cli(*command, "--data-dir", str(running.data_dir), check=False)
            assert done.returncode == 1
            assert done.stderr.count("\n") == 1, done.stderr
            assert "hush-hush" not in done.stderr
            assert "database" in done.stderr.lower(), done.stderr
        assert running.processes() == []
        logs = "".join(log.read_text() for log in (running.data_dir / "logs").glob("*.log"))
        assert "hush-hush" not in logs
    finally:
        running.remove()
