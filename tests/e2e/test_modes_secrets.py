"""Secrets stay where they belong: not in logs, traces, command lines, databases or workloads."""

from __future__ import annotations

import hashlib
import json
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from fnmesh.client import Mesh
from tests.support import processes
from tests.support.eventually import eventually_sync
from tests.support.running_mesh import RunningMesh

FUNCTION = """
    import hashlib
    import os

    def handler(event):
        if (event.get("queryStringParameters") or {}).get("fail"):
            raise RuntimeError("as asked")
        return {"pid": os.getpid(), "length": len(os.environ.get("PASSWORD", "")), "uid": os.getuid(),
                "names": sorted(os.environ),
                "token": hashlib.sha256(os.environ.get("TOKEN", "").encode()).hexdigest()}
"""


@dataclass(frozen=True)
class Secretive:
    """A mesh that was used with secrets at log level debug; what must be found nowhere, by what it is."""

    mesh: RunningMesh
    url: str
    admin: str
    secrets: dict[str, str]
    run_dir: Path
    trace_ids: tuple[str, ...]


def _environ_of(pid: int) -> dict[str, str]:
    raw = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    return dict(word.split("=", 1) for word in raw.split("\0") if "=" in word)


@pytest.fixture(scope="module")
def secretive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secretive]:
    running = RunningMesh(environ={"FNMESH_AUTH": "keys", "FNMESH_LOG_LEVEL": "debug"})
    words = ("env", "newer", "query", "header", "secret", "rotated")
    first, second, query, header, secret, rotated = (f"{word}-{secrets.token_hex(12)}" for word in words)
    source = tmp_path_factory.mktemp("secretive")
    (source / "handler.py").write_text(FUNCTION.replace("\n    ", "\n"))
    try:
        admin = running.first_key()
        running.start()
        with Mesh(running.server, api_key=admin) as mesh:
            deploy = mesh.deploy(source, name="secretive", target="process", env={"PASSWORD": first}, access="key")
            deploy.wait()
            traces = [deploy.build.trace_id]
            headers = {"authorization": f"Bearer {admin}", "x-password": header}
            for path in (f"?q={query}", f"?fail=1&q={query}", f"/nowhere/{'x' * 20}?q={query}"):
                answer = httpx.get(f"{deploy.url}{path}", headers=headers, trust_env=False)
                traces.append(answer.headers["x-trace-id"])
            httpx.get(f"{running.url}/api/none?q={query}", headers=headers, trust_env=False)
            mesh.invoke("secretive", {"password": header})
            mesh.env_set("secretive", {"PASSWORD": second})
            for value in (secret, rotated):
                running.cli("secret", "set", "secretive", "TOKEN", stdin=f"{value}\n", FNMESH_API_KEY=admin)
            mesh.wait_ready(mesh.show("secretive"))
            caller = mesh.create_key(["invoke"])
        environ = _environ_of(running.service_pid("registry"))
        run_dir = Path(environ["FNMESH_RUN_DIR"])
        token = (run_dir / "token").read_text().strip()
        hidden = {"env": first, "newer env": second, "query": query, "header": header, "admin key": admin,
                  "caller key": caller.secret, "service token": token,
                  "secret": secret, "rotated secret": rotated}  # fmt: skip
        # The output of the instances before is removed when they have ended; the tests read what is there.
        eventually_sync(lambda: len(list((running.data_dir / "logs").glob("in-*.log"))) == 1, 30)
        yield Secretive(running, f"{running.url}/api/secretive", admin, hidden, run_dir, tuple(traces))
        assert running.stop() == 0, running.errors()
    finally:
        running.remove()


def _found(hidden: dict[str, str], data: bytes) -> list[str]:
    return [what for what, value in hidden.items() if value.encode() in data]


def test_nothing_secret_is_in_a_file_of_the_data_directory(secretive: Secretive) -> None:
    files = [path for path in secretive.mesh.data_dir.rglob("*") if path.is_file() and path.stat().st_size < 1 << 26]

    leaks = {str(path): found for path in files if (found := _found(secretive.secrets, path.read_bytes()))}

    assert {path.suffix for path in files} >= {".db", ".log"}
    assert leaks == {}


def test_nothing_secret_is_in_a_trace(secretive: Secretive) -> None:
    with Mesh(secretive.mesh.server, api_key=secretive.admin) as mesh:
        for trace_id in secretive.trace_ids:
            trace = eventually_sync(lambda wanted=trace_id: mesh.trace(wanted), 10)  # type: ignore[misc]
            assert trace.spans
            assert _found(secretive.secrets, str(trace).encode()) == []


def test_nothing_secret_is_in_builds_logs_or_executions(secretive: Secretive) -> None:
    said = ""
    for command in (("show",), ("show", "--reveal-env"), ("builds",), ("logs",), ("executions",), ("secret", "list"),
                    ("env", "list", "--reveal")):  # fmt: skip
        said += secretive.mesh.cli(*command, "secretive", "--json", FNMESH_API_KEY=secretive.admin).stdout
        shown = secretive.mesh.cli(*command, "secretive", FNMESH_API_KEY=secretive.admin)
        said += shown.stdout + shown.stderr
    said += secretive.mesh.cli("key", "list", "--json", FNMESH_API_KEY=secretive.admin).stdout
    assert "TOKEN" in said
    hidden = {what: value for what, value in secretive.secrets.items() if what != "newer env"}  # env can be revealed
    assert _found(hidden, said.encode()) == []


def test_nothing_secret_is_in_any_answer_of_the_registry(secretive: Secretive) -> None:
    with Mesh(secretive.mesh.server, api_key=secretive.admin) as mesh:
        function = mesh.show("secretive")
        said = [function, *mesh.list(workspace="-"), *mesh.revisions("secretive"), *mesh.secrets("secretive")]
        said += [
            mesh.deployment("secretive"),
            mesh.secret_set("secretive", "TOKEN", secretive.secrets["rotated secret"]),
        ]
        mesh.wait_ready(mesh.show("secretive"))
    for answer in said:
        assert _found(secretive.secrets, answer.SerializeToString()) == []


def test_nothing_secret_is_in_a_command_line(secretive: Secretive) -> None:
    lines = "\n".join(" ".join(processes.command_line(pid)) for pid in secretive.mesh.processes())
    assert "registry_svc" in lines
    assert _found(secretive.secrets, lines.encode()) == []


def test_environment_of_a_workload_has_nothing_of_the_mesh(secretive: Secretive) -> None:
    headers = {"authorization": f"Bearer {secretive.admin}"}
    answer = httpx.get(secretive.url, headers=headers, trust_env=False).json()

    environ = _environ_of(answer["pid"])

    assert answer["length"] == len(secretive.secrets["newer env"])
    for names in (set(environ), set(answer["names"])):
        assert not [name for name in names if name.startswith(("FNMESH_", "OTEL_", "GRPC_", "PIP_"))]
    assert answer["token"] == hashlib.sha256(secretive.secrets["rotated secret"].encode()).hexdigest()
    own = ("newer env", "rotated secret")
    others = {what: value for what, value in secretive.secrets.items() if what not in own}
    assert _found(others, json.dumps(environ).encode()) == []


def test_files_with_secrets_are_for_their_owner_only(secretive: Secretive) -> None:
    data, run = secretive.mesh.data_dir, secretive.run_dir
    private = [data / "secrets.key", run / "token", run / "m" / "envoy.pb",
               *(data / "db").iterdir(), *(data / "logs").iterdir()]  # fmt: skip
    assert {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in private[:3]} == {
        path.name: "0o600" for path in private[:3]
    }
    for folder in (data / "db", data / "logs", run / "m"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder
    assert not [path for path in (data / "blobs", data / "blobs") if path.exists() and path.stat().st_mode & 0o022]
    writable = [path for path in data.iterdir() if path.stat().st_mode & stat.S_IWOTH and not path.is_symlink()]
    assert writable == []
