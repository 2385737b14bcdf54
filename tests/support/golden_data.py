"""Data directories of earlier versions, kept as text: written at a release, opened by every later version's tests.

    python -m tests.support.golden_data [VERSION]      # or: make golden VERSION=0.2.0

Runs a real mesh with one function (deployed, with a secret, its env changed, called) and one API key, stops it, and
writes `tests/golden/data-dir/<VERSION>/`: the SQL of each service's SQLite file, the blobs in base64, the key file, and
`facts.json` with what a test may expect of it. `restore` makes a data directory of that again.
"""

from __future__ import annotations

import base64
import json
import shutil
import sqlite3
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx

from tests.support.eventually import eventually_sync
from tests.support.running_mesh import RunningMesh

ROOT = Path(__file__).parents[1] / "golden" / "data-dir"
FUNCTION = "golden-hello"
KEY_FILE = "TEST-ONLY-secrets.key"
HANDLER = """\
import os


def handler(event):
    return {"greeting": os.environ.get("GREETING", "none"), "secret": os.environ.get("SECRET", "none"), "edition": 1}
"""
_LINE = 120


def versions() -> list[str]:
    """The versions that left a data directory here."""
    return sorted(path.name for path in ROOT.iterdir() if (path / "facts.json").is_file())


def facts(name: str) -> dict[str, Any]:
    """What was true of a version's mesh when it was stopped."""
    found: dict[str, Any] = json.loads((ROOT / name / "facts.json").read_text())
    return found


def restore(name: str, data_dir: Path) -> None:
    """Makes a version's data directory again, below a directory that is there."""
    golden = ROOT / name
    (data_dir / "db").mkdir(mode=0o700)
    for dump in sorted((golden / "db").glob("*.sql")):
        file = data_dir / "db" / f"{dump.stem}.db"
        connection = sqlite3.connect(file)
        connection.executescript(dump.read_text())
        connection.close()
        file.chmod(0o600)
    for coded in sorted((golden / "blobs").rglob("*.b64")):
        blob = data_dir / "blobs" / coded.relative_to(golden / "blobs").with_suffix("")
        blob.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        blob.write_bytes(base64.b64decode(coded.read_text()))
    key = data_dir / "secrets.key"
    key.write_text((golden / KEY_FILE).read_text())
    key.chmod(0o600)
    (data_dir / "mesh_id").write_text((golden / "mesh_id").read_text())


def write(name: str, directory: Path) -> None:
    """Writes a data directory of this version."""
    mesh = RunningMesh(environ={"FNMESH_TRACE_RATE": "0"})
    source = Path(tempfile.mkdtemp(prefix="golden-")) / FUNCTION
    source.mkdir()
    (source / "handler.py").write_text(HANDLER)
    try:
        mesh.start()
        mesh.cli("deploy", str(source), "--target", "process", "--env", "GREETING=first")
        mesh.cli("secret", "set", FUNCTION, "SECRET", stdin="test-only")
        mesh.cli("env", "set", FUNCTION, "GREETING=hello from the past")
        key = mesh.cli("key", "create", "--scope", "admin", "--name", "test-only").stdout.strip()
        answer = httpx.get(f"{mesh.url}/api/{FUNCTION}", trust_env=False).json()
        mesh.cli("invoke", FUNCTION, "-d", "{}")
        runs = eventually_sync(
            lambda: (got := mesh.cli_json("executions", FUNCTION)["executions"])[1:] and got, 10, interval_s=0.2
        )
        found = {
            "version": name,
            "function": FUNCTION,
            "answer": answer,
            "env": {"GREETING": "hello from the past"},
            "secrets": mesh.cli_json("secret", "list", FUNCTION)["secrets"],
            "apiKey": {"testOnly": key, "listed": mesh.cli_json("key", "list")["apiKeys"]},
            "builds": mesh.cli_json("builds", FUNCTION)["builds"],
            "executions": runs,
            "revisions": len(mesh.cli_json("show", FUNCTION)["revisions"]),
        }
        assert mesh.stop() == 0, mesh.errors()
        shutil.rmtree(directory, ignore_errors=True)
        _write(mesh.data_dir, directory)
        (directory / "facts.json").write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    finally:
        mesh.remove()
        shutil.rmtree(source.parent, ignore_errors=True)


def _write(data_dir: Path, directory: Path) -> None:
    (directory / "db").mkdir(parents=True)
    for file in sorted((data_dir / "db").glob("*.db")):
        connection = sqlite3.connect(file)
        (directory / "db" / f"{file.stem}.sql").write_text("\n".join(connection.iterdump()) + "\n")
        connection.close()
    for blob in sorted(path for path in (data_dir / "blobs").rglob("*") if path.is_file()):
        coded = directory / "blobs" / f"{blob.relative_to(data_dir / 'blobs')}.b64"
        coded.parent.mkdir(parents=True, exist_ok=True)
        text = base64.b64encode(blob.read_bytes()).decode()
        coded.write_text("".join(f"{text[at : at + _LINE]}\n" for at in range(0, len(text), _LINE)))
    shutil.copyfile(data_dir / "secrets.key", directory / KEY_FILE)
    shutil.copyfile(data_dir / "mesh_id", directory / "mesh_id")


def main(arguments: list[str]) -> int:
    if len(arguments) > 1 or any(one.startswith("-") for one in arguments):
        print(__doc__, file=sys.stderr)
        return 2
    name = arguments[0] if arguments and arguments[0] else version("fnmesh")
    if (ROOT / name).exists():
        print(f"{ROOT / name} is there already: the data directory of a version is written once.", file=sys.stderr)
        return 1
    write(name, ROOT / name)
    print(f"Wrote {ROOT / name}.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
