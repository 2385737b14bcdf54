"""Where a mesh keeps its things on this machine, and the lock that makes it the only one there."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cli.errors import CommandError

_HOLDER_BYTES = 256
LONGEST_RUN_DIR = 60  # gRPC refuses socket paths over 107 characters; an instance's socket needs some 40


@dataclass(frozen=True)
class Places:
    """The directories of one mesh. `data` outlives it; `run` is made at each start."""

    data: Path
    run: Path

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    @property
    def token_file(self) -> Path:
        return self.run / "token"

    @property
    def envoy_admin(self) -> Path:
        return self.run / "m" / "envoy-admin.sock"

    @property
    def envoy_bootstrap(self) -> Path:
        return self.run / "m" / "envoy.pb"

    def service_socket(self, service: str) -> Path:
        return self.run / "m" / f"{service}.sock"


def default_data_dir() -> Path:
    """/var/lib/fnmesh for root, else below the home directory."""
    return Path("/var/lib/fnmesh") if os.geteuid() == 0 else Path.home() / ".local" / "share" / "fnmesh"


def find_places(data_dir: Path | None, environ: Mapping[str, str]) -> Places:
    """The places of the mesh on a data directory; nothing is made yet."""
    named = environ.get("FNMESH_DATA_DIR")
    data = (data_dir or (Path(named) if named else default_data_dir())).expanduser().absolute()
    if named_run := environ.get("FNMESH_RUN_DIR"):
        run = Path(named_run).absolute()
    else:
        short = f"fnmesh-{hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:8]}"
        runtime = environ.get("XDG_RUNTIME_DIR", "")
        private = runtime if os.geteuid() != 0 and len(runtime) <= 30 and Path(runtime).is_dir() else ""
        run = Path(private or "/tmp") / short  # noqa: S108 -- its owner and mode are checked in make_run_dir
    if len(str(run)) > LONGEST_RUN_DIR:
        raise CommandError(f"The run directory {run} has too long a path; set FNMESH_RUN_DIR to a shorter one.")
    return Places(data, run)


def make_data_dir(places: Places) -> None:
    """Makes the data directory: for its owner only, but passable for workloads' users where root runs it."""
    try:
        places.data.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0 or places.data.stat().st_uid != 0:  # root's is a volume that a pod was given, as it is
            places.data.chmod(0o711 if os.geteuid() == 0 else 0o700)
        for private in (places.logs, places.data / "db"):
            private.mkdir(mode=0o700, exist_ok=True)
        mesh_id = places.data / "mesh_id"
        if not mesh_id.exists():
            mesh_id.write_text(secrets.token_hex(6) + "\n")
    except OSError as error:
        raise CommandError(
            f"The data directory {places.data} cannot be used ({error.strerror}); give another with --data-dir."
        ) from None


def make_run_dir(places: Places) -> None:
    """Makes the run directory anew, with a new service token. Call it with the lock held."""
    run = places.run
    try:
        if run.is_symlink() or run.exists():
            found = run.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                raise CommandError(
                    f"{run} belongs to somebody else; remove it, or set FNMESH_RUN_DIR to another place."
                )
            shutil.rmtree(run)
        run.mkdir(mode=0o700, parents=True)
        run.chmod(0o711)
        (run / "m").mkdir(mode=0o700)
        (run / "i").mkdir(mode=0o711)
        (run / "i").chmod(0o711)
        descriptor = os.open(places.token_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32))
    except OSError as error:
        raise CommandError(
            f"The run directory {run} cannot be made ({error.strerror}); set FNMESH_RUN_DIR to another place."
        ) from None


class DataLock:
    """The lock of a data directory: held by the mesh that runs there, free again when its process is gone.

    The file says who holds it. What is found there when it is taken is what the last mesh left: nothing,
    where it was stopped in order.
    """

    def __init__(self, places: Places) -> None:
        self._path = places.data / "up.lock"
        self._file: IO[str] | None = None

    def take(self) -> bool:
        """Takes the lock; says whether the last mesh was stopped in order. Raises CommandError if it runs."""
        # Not in append mode: `note` writes at the beginning.
        file = os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = _read_holder(file)
            file.close()
            where = f" and answers at {holder['url']}" if holder.get("url") else ""
            raise CommandError(
                f"A mesh already runs on {self._path.parent}: process {holder.get('pid', 'unknown')}{where}; "
                "stop it first, or give another --data-dir."
            ) from None
        self._file = file
        was_stopped = not _read_holder(file)
        try:
            self.note(url="")
        except OSError as error:
            raise CommandError(
                f"The data directory {self._path.parent} cannot be used ({error.strerror}); "
                "free some space there, or give another with --data-dir."
            ) from None
        return was_stopped

    def note(self, url: str) -> None:
        """Writes who holds the lock, over what was there: that needs no room on a disk that has become full."""
        if self._file is not None:
            holder = json.dumps({"pid": os.getpid(), "url": url}).ljust(_HOLDER_BYTES)
            os.pwrite(self._file.fileno(), holder.encode(), 0)

    def release(self) -> None:
        """Gives the lock back after an orderly stop."""
        if self._file is not None:
            os.ftruncate(self._file.fileno(), 0)
            self._file.close()
            self._file = None


def _read_holder(file: IO[str]) -> dict[str, object]:
    file.seek(0)
    try:
        holder = json.loads(file.read() or "{}")
    except ValueError:
        return {"pid": "unknown"}
    return holder if isinstance(holder, dict) else {}
