"""Who the processes of instances are, in files that survive deploy_svc."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from deploy_svc.process.proc import ProcessId, boot_id


@dataclass(frozen=True, slots=True)
class Record:
    """One started instance. `user` is the uid it runs as, None for the mesh's own."""

    instance: str
    process: ProcessId
    address: str
    artifact: str
    user: int | None
    memory_bytes: int
    boot: str = ""


class Records:
    """A file for each instance below `root`, which only the mesh can read."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def write(self, record: Record) -> None:
        """Keep the record; whole or not at all."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        fields = asdict(record) | {"process": str(record.process), "boot": boot_id()}
        temporary = self._root / f".{record.instance}"
        temporary.write_text(json.dumps(fields))
        temporary.replace(self._path(record.instance))

    def load(self) -> list[Record]:
        """All records; one that cannot be read counts as none."""
        found = []
        for path in self._root.glob("*.json") if self._root.is_dir() else ():
            try:
                fields = json.loads(path.read_text())
                process = ProcessId.parse(fields.pop("process"))
                if process is not None:
                    found.append(Record(process=process, **fields))
            except (OSError, ValueError, TypeError, KeyError):
                continue
        return found

    def delete(self, instance: str) -> None:
        """Forget an instance."""
        self._path(instance).unlink(missing_ok=True)

    def _path(self, instance: str) -> Path:
        return self._root / f"{os.path.basename(instance)}.json"  # noqa: PTH119 -- of a name, not a path
