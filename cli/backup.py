"""A backup of a mesh's data directory, running or not: databases, blobs, key-value data of Spin functions, the key of
env and secrets, the mesh's id.

The databases are copied as they all were at one moment. Blobs are never changed once written, so what of them the
databases name is there: those of before are copied first, those that came meanwhile last.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cli.errors import CommandError
from cli.offline import WITH_TABLES
from cli.up.places import Places, find_places

_UNFINISHED = ".tmp"
_KEY_VALUE = Path("spin/key-value")
_BUSY_S = 30.0


@dataclass
class Backup:
    """What was written, and what has to be kept safe in another way."""

    directory: Path
    databases: list[str] = field(default_factory=list)
    blobs: int = 0
    size_bytes: int = 0
    elsewhere: list[str] = field(default_factory=list)


def back_up(directory: Path, data_dir: Path | None, environ: Mapping[str, str]) -> Backup:
    """Writes a backup; the directory appears when it is whole. Raises CommandError, OSError."""
    places = find_places(data_dir, environ)
    directory = directory.expanduser().absolute()
    _check(directory, places)
    partial = directory.with_name(f"{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700, parents=True)
    try:
        backup = Backup(directory)
        blobs = _blobs_dir(places, environ, backup)
        backup.blobs += _copy_files(blobs, partial / "blobs", backup)
        if _in_files(environ, backup):
            _copy_databases(places.data / "db", partial / "db", backup)
            backup.blobs += _copy_files(blobs, partial / "blobs", backup)
        if (places.data / _KEY_VALUE).is_dir():
            _copy_files(places.data / _KEY_VALUE, partial / _KEY_VALUE, backup)
        named = environ.get("FNMESH_REGISTRY_SECRETS_KEY_FILE")
        _copy(Path(named) if named else places.data / "secrets.key", partial / "secrets.key", backup)
        _copy(places.data / "mesh_id", partial / "mesh_id", backup)
        about = {"made": datetime.now(UTC).isoformat(), "of": str(places.data), "databases": backup.databases}
        (partial / "backup.json").write_text(json.dumps(about, indent=2) + "\n")
        partial.rename(directory)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _sync(directory.parent)
    return backup


def _check(directory: Path, places: Places) -> None:
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise CommandError(f"{directory} is there already; name a directory that is not.")
    if directory.is_relative_to(places.data):
        raise CommandError(f"{directory} is in the data directory itself; name one on another disk.")
    if not (places.data / "secrets.key").exists() and not (places.data / "db").is_dir():
        raise CommandError(f"There is no mesh's data in {places.data}; name its directory with --data-dir.")


def _blobs_dir(places: Places, environ: Mapping[str, str], backup: Backup) -> Path | None:
    url = environ.get("FNMESH_BLOB_URL", "").removeprefix("file://")
    if "://" in url:
        backup.elsewhere.append("the blobs are in the object store of FNMESH_BLOB_URL")
        return None
    return Path(url) if url else places.data / "blobs"


def _in_files(environ: Mapping[str, str], backup: Backup) -> bool:
    """Whether the tables are in the data directory's SQLite files."""
    url = environ.get("FNMESH_DATABASE_URL", "")
    if url.startswith("postgresql"):
        backup.elsewhere.append("the tables are in PostgreSQL: pg_dump them")
        return False
    if url:
        raise CommandError(
            "FNMESH_DATABASE_URL names a SQLite file elsewhere; only those in the data directory are copied."
        )
    return True


def _copy_databases(source: Path, target: Path, backup: Backup) -> None:
    """Copies all databases as they were at one moment: each connection sees its snapshot of then."""
    target.mkdir(mode=0o700)
    with ExitStack() as stack:
        snapshots = {}
        for name in WITH_TABLES:
            if (source / f"{name}.db").exists():
                snapshots[name] = stack.enter_context(_snapshot(source / f"{name}.db"))
        if "registry" not in snapshots:
            raise CommandError(
                f"There are no tables in {source}; where they are in PostgreSQL, set FNMESH_DATABASE_URL as for `up`."
            )
        for name, connection in snapshots.items():
            copied = target / f"{name}.db"
            copied.touch(mode=0o600)
            with closing(sqlite3.connect(copied)) as copy:
                connection.backup(copy)
                (state,) = copy.execute("PRAGMA quick_check(1)").fetchone()
            if state != "ok":
                raise CommandError(f"{source / f'{name}.db'} is damaged: {state}. Bring back an earlier backup.")
            _sync(copied)
            backup.databases.append(name)
            backup.size_bytes += copied.stat().st_size


@contextmanager
def _snapshot(file: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True, timeout=_BUSY_S)) as connection:
            connection.isolation_level = None
            connection.execute("BEGIN")
            connection.execute(
                "SELECT count(*) FROM sqlite_master"
            ).fetchone()  # the snapshot is taken at the first look
            yield connection
    except sqlite3.Error as error:
        raise CommandError(f"{file} cannot be copied: {error}.") from None


def _copy_files(source: Path | None, target: Path, backup: Backup) -> int:
    """Copies those that are not there yet, and counts them; one that goes away meanwhile is needed no more."""
    if source is None:
        return 0
    count = 0
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder, folders, names in os.walk(source):
        folders[:] = [name for name in folders if name != _UNFINISHED]
        for name in names:
            file = Path(folder, name)
            copied = target / file.relative_to(source)
            if not copied.exists():
                copied.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                try:
                    _copy(file, copied, backup)
                except FileNotFoundError:
                    copied.unlink(missing_ok=True)
                    continue
                count += 1
    return count


def _copy(source: Path, target: Path, backup: Backup) -> None:
    with source.open("rb") as read, target.open("xb") as written:
        target.chmod(0o600)
        shutil.copyfileobj(read, written, 1 << 20)
        written.flush()
        os.fsync(written.fileno())
        backup.size_bytes += written.tell()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
