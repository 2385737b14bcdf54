"""Makes images of recipes, one container for each layer, and knows which images of the daemon are ours."""

from __future__ import annotations

import io
import json
import secrets
import shlex
import tarfile
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from build_svc import recipe
from build_svc.docker_daemon import DockerDaemon, Plan
from build_svc.lines import LastLines, LineSink
from build_svc.recipe import Layer

VOLUME = "/.fnmesh-build"
_ENVIRONMENT_FILE = f"{VOLUME}/environment"
_MESH, _ROLE = "fnmesh.mesh", "fnmesh.role"


@dataclass(frozen=True)
class File:
    """A file for a container: its content, or where it is on this machine."""

    content: bytes | Path
    executable: bool = False


@dataclass(frozen=True)
class Secrets:
    """What a layer's commands get that no image keeps: environment, and files below VOLUME."""

    environment: Mapping[str, str]
    files: Mapping[str, bytes]


class CommandFailed(Exception):
    """A layer's command ended with another status than 0; `last` are the last lines it wrote."""

    def __init__(self, status: int, last: Sequence[str]) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.last = tuple(last)


class BuiltImages:
    """The images that this mesh has made at the daemon."""

    def __init__(self, daemon: DockerDaemon) -> None:
        self._daemon = daemon

    async def make(
        self,
        base: str,
        layer: Layer,
        files: Mapping[str, File],
        *,
        role: str,
        labels: Mapping[str, str],
        name: str,
        given: Secrets | None = None,
        before: Sequence[str] = (),
        before_files: Mapping[str, bytes] | None = None,
        on_line: LineSink,
    ) -> str:
        """Id of the image that `layer` makes of `base`, with `files` (of the recipe's context) copied.

        `before` are commands of ours that run before the layer's, with `before_files` below VOLUME; `role` tells
        caches from artifacts. There is a network only where something is `given`. Raises CommandFailed.
        """
        commands = [*(f"({one}) || exit\n" for one in before), layer.script]
        plan = Plan(
            name=name,
            image=base,
            argv=["/bin/sh", f"{VOLUME}/job.sh"],
            user=layer.user,
            workdir=layer.workdir,
            volume=VOLUME,
            network=given is not None,
        )
        async with self._daemon.container(plan) as container:
            await container.put("/", _context_tar(layer, files))
            if "".join(commands):
                uid = int(layer.user.partition(":")[0])
                script = f"if [ -f {_ENVIRONMENT_FILE} ]; then set -a; . {_ENVIRONMENT_FILE}; set +a; fi\n"
                kept_out = given or Secrets({}, before_files or {})
                await container.put(VOLUME, _volume_tar(script + "".join(commands), kept_out, uid))
                await self._run(container.run, on_line)
            ours = {_MESH: self._daemon.mesh_id, _ROLE: role, **labels}
            changes = [
                *layer.changes,
                *(f"LABEL {key}={json.dumps(value)}" for key, value in sorted(ours.items())),
            ]
            if not any(change.startswith("ENTRYPOINT") for change in changes):
                changes.append("ENTRYPOINT []")
            return await container.commit(f"fnmesh/{role}:{secrets.token_hex(8)}", [*changes, "CMD []"])

    async def try_out(
        self,
        base: str,
        layer: Layer,
        files: Mapping[str, File],
        commands: Sequence[str],
        *,
        name: str,
        extra: Mapping[str, bytes],
        on_line: LineSink,
    ) -> None:
        """Run commands on `files` in a container of `base` without a network, and keep nothing of it."""
        plan = Plan(name, base, ["/bin/sh", f"{VOLUME}/job.sh"], layer.user, layer.workdir, VOLUME, network=False)
        async with self._daemon.container(plan) as container:
            await container.put("/", _context_tar(layer, files))
            script = "".join(f"({one}) || exit\n" for one in commands)
            uid = int(layer.user.partition(":")[0])
            await container.put(VOLUME, _volume_tar(script, Secrets({}, extra), uid))
            await self._run(container.run, on_line)

    async def _run(self, run: Callable[[LineSink], Awaitable[int]], on_line: LineSink) -> None:
        last = LastLines(on_line)
        status = await run(last)
        if status != 0:
            raise CommandFailed(status, last.texts)

    async def remove_leftovers(self, open_builds: Callable[[], Awaitable[Collection[str]]]) -> int:
        """Ends the containers that killed builders have left; those of open builds stay. Returns how many.

        The containers are listed before the builds: a build that began in between has none in the list.
        """
        if not await self._daemon.answers():
            return 0
        found = await self._daemon.build_containers()
        still_open = await open_builds() if found else ()
        left = [name for name, build in found.items() if build not in still_open]
        for name in left:
            await self._daemon.remove_container(name)
        return len(left)

    async def strays(self, *, older_than: datetime, known: Collection[str]) -> list[str]:
        """Images that this mesh made (its label says so) before that time and that no row knows of."""
        label = f"{_MESH}={self._daemon.mesh_id}"
        if not await self._daemon.answers():
            return []
        found = await self._daemon.call(lambda api: api.images(filters={"label": [label, _ROLE]}))
        return [
            image["Id"] for image in found if image["Id"] not in known and image["Created"] < older_than.timestamp()
        ]


def files_below(root: Path, place: str) -> dict[str, File]:
    """The plain files of a directory as files of a context, below `place` (`app/`)."""
    return {
        place + path.relative_to(root).as_posix(): File(path, bool(path.stat().st_mode & 0o111))
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def _context_tar(layer: Layer, files: Mapping[str, File]) -> io.BytesIO:
    """What the layer copies, as a tar for the root directory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        made: set[str] = set()
        for copy in layer.copies:
            base = copy.place.strip("/")
            for name, place in sorted(recipe.placed(copy, files).items()):
                target = place.strip("/")
                parts = target.split("/")[:-1]
                for depth in range(1, len(parts) + 1):
                    directory = "/".join(parts[:depth])
                    if directory not in made and directory.startswith(f"{base}/"):
                        made.add(directory)
                        _add(tar, directory, None, copy.owner, 0o755)
                file = files[name]
                _add(tar, target, file.content, copy.owner, 0o755 if file.executable else 0o644)
    out.seek(0)
    return out


def _volume_tar(script: str, given: Secrets, uid: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, "job.sh", script.encode(), uid, 0o600)
        for name, content in given.files.items():
            _add(tar, name, content, uid, 0o600)
        lines = "".join(f"{key}={shlex.quote(value)}\n" for key, value in sorted(given.environment.items()))
        _add(tar, "environment", lines.encode(), uid, 0o600)
    return out.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes | Path | None, uid: int, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.uid = info.gid = uid
    info.mode = mode
    if content is None:
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
    elif isinstance(content, Path):
        info.size = content.stat().st_size
        with content.open("rb") as file:
            tar.addfile(info, file)
    else:
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
