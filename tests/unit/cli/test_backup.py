"""`fnmesh db backup` on data directories made by hand."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from cli.backup import _snapshot, back_up
from cli.errors import CommandError

SERVICES = ["registry", "build", "deploy", "invoke"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with a row in each database, two blobs and one that is being written."""
    root = tmp_path / "data"
    (root / "db").mkdir(parents=True)
    for service in SERVICES:
        with closing(sqlite3.connect(root / "db" / f"{service}.db")) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("CREATE TABLE things (name TEXT)")
            connection.execute("INSERT INTO things VALUES (?)", (service,))
            connection.commit()
    for blob in ("sha256/aa/one", "sha256/bb/two", ".tmp/three"):
        (root / "blobs" / blob).parent.mkdir(parents=True, exist_ok=True)
        (root / "blobs" / blob).write_bytes(blob.encode())
    value = root / "spin/key-value/fn-abc/default/kname"
    value.parent.mkdir(parents=True)
    value.write_text("value")
    (root / "secrets.key").write_text("00" * 32)
    (root / "mesh_id").write_text("abc\n")
    return root


def _names(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM things")]


def _files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_a_backup_has_everything_and_is_private(data: Path, tmp_path: Path) -> None:
    made = back_up(tmp_path / "backup", data, {})

    assert made.databases == SERVICES
    assert (made.blobs, made.elsewhere) == (2, [])
    assert _files(tmp_path / "backup") == {
        *(f"db/{service}.db" for service in SERVICES),
        *("blobs/sha256/aa/one", "blobs/sha256/bb/two", "secrets.key", "mesh_id", "backup.json"),
        "spin/key-value/fn-abc/default/kname",
    }
    assert [_names(tmp_path / "backup" / "db" / f"{service}.db") for service in SERVICES] == [[one] for one in SERVICES]
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "backup" / "secrets.key").stat().st_mode) == 0o600


def test_what_is_committed_but_not_in_the_file_yet_is_copied(data: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(data / "db" / "registry.db")) as writer:  # open: nothing is moved out of its log
        writer.execute("INSERT INTO things VALUES ('newest')")
        writer.commit()
        writer.execute("INSERT INTO things VALUES ('never committed')")

        back_up(tmp_path / "backup", data, {})

    assert _names(tmp_path / "backup" / "db" / "registry.db") == ["registry", "newest"]


def test_a_database_is_copied_as_it_was_at_the_moment_of_all(data: Path, tmp_path: Path) -> None:
    """What is committed between the moment and the copying is not in the copy."""
    file = data / "db" / "registry.db"
    with _snapshot(file) as connection, closing(sqlite3.connect(file)) as writer:
        writer.execute("INSERT INTO things VALUES ('later')")
        writer.commit()
        with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
            connection.backup(copy)

    assert _names(tmp_path / "copy.db") == ["registry"]
    assert _names(file) == ["registry", "later"]


def test_a_backup_that_cannot_be_finished_leaves_nothing(data: Path, tmp_path: Path) -> None:
    (data / "secrets.key").unlink()

    with pytest.raises(FileNotFoundError):
        back_up(tmp_path / "backups" / "monday", data, {})

    assert list((tmp_path / "backups").iterdir()) == []


def test_a_damaged_database_is_told_and_not_backed_up(data: Path, tmp_path: Path) -> None:
    (data / "db" / "build.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 8192)

    with pytest.raises(CommandError, match=r"build\.db cannot be copied: "):
        back_up(tmp_path / "backup", data, {})

    assert not (tmp_path / "backup").exists()


@pytest.mark.parametrize(
    ("directory", "environ", "told"),
    [
        (".", {}, "{tmp} is there already; name a directory that is not."),
        ("data/inside", {}, "{tmp}/data/inside is in the data directory itself; name one on another disk."),
        ("backup", {"FNMESH_DATABASE_URL": "sqlite:///elsewhere.db"},
         "FNMESH_DATABASE_URL names a SQLite file elsewhere; only those in the data directory are copied."),
    ],
)  # fmt: skip
def test_what_cannot_be_backed_up_is_a_sentence(
    data: Path, tmp_path: Path, directory: str, environ: dict[str, str], told: str
) -> None:
    with pytest.raises(CommandError) as caught:
        back_up(tmp_path / directory, data, environ)

    assert str(caught.value) == told.format(tmp=tmp_path)


def test_where_no_mesh_was_there_is_nothing_to_back_up(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="There is no mesh's data in"):
        back_up(tmp_path / "backup", tmp_path / "nothing", {})


def test_tables_that_are_not_there_may_be_in_postgresql(data: Path, tmp_path: Path) -> None:
    for file in (data / "db").iterdir():
        file.unlink()

    with pytest.raises(CommandError, match="set FNMESH_DATABASE_URL as for `up`"):
        back_up(tmp_path / "backup", data, {})


def test_what_is_elsewhere_is_named(data: Path, tmp_path: Path) -> None:
    environ = {"FNMESH_DATABASE_URL": "postgresql://mesh@db/fnmesh", "FNMESH_BLOB_URL": "s3://bucket/mesh"}

    made = back_up(tmp_path / "backup", data, environ)

    assert made.elsewhere == [
        "the blobs are in the object store of FNMESH_BLOB_URL",
        "the tables are in PostgreSQL: pg_dump them",
    ]
    key_value = "spin/key-value/fn-abc/default/kname"
    assert _files(tmp_path / "backup") == {"secrets.key", "mesh_id", "backup.json", key_value}


def test_a_key_file_elsewhere_is_copied_too(data: Path, tmp_path: Path) -> None:
    (data / "secrets.key").rename(tmp_path / "key")

    back_up(tmp_path / "backup", data, {"FNMESH_REGISTRY_SECRETS_KEY_FILE": str(tmp_path / "key")})

    assert (tmp_path / "backup" / "secrets.key").read_text() == "00" * 32
