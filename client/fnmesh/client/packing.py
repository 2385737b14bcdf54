"""Sources made ready to be sent: the same files always give the same bytes, and so the same digest."""

from __future__ import annotations

import io
import os
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fnmesh.client.errors import SourceError
from fnmesh.client.ignore import IgnoreRules

PYTHON_ENTRY = "handler.py"
ENTRY_FILES = ("handler.py", "app.py", "main.py", "index.js", "index.mjs", "index.cjs")
MAX_FILES = 20_000
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class PackedSource:
    """A source as it is uploaded: a zip archive, the name it suggests, the text of its fnmesh.toml."""

    filename: str
    content: bytes
    suggested_name: str
    settings_toml: str | None = None


def pack(path: str | Path) -> PackedSource:
    """Packs a directory, a single file or a .zip.

    Raises SourceError, with what to do, where it is none of them, is empty, or leads out of itself.
    """
    source = Path(path).expanduser()
    if source.is_dir():
        return _pack_directory(source)
    if not source.is_file():
        raise SourceError(f"There is no file or directory '{path}'.")
    if source.suffix == ".zip":
        return _read_zip(source)
    return _pack_file(source)


def _pack_directory(root: Path) -> PackedSource:
    rules = IgnoreRules(_read_lines(root / ".fnmeshignore"))
    entries = sorted(_walk(root.resolve(), "", rules), key=lambda entry: entry[0])
    if not entries:
        raise SourceError(f"There is nothing to deploy in '{root}'; it needs a handler.py or an index.js.")
    if len(entries) > MAX_FILES:
        raise SourceError(f"'{root}' has over {MAX_FILES} files; list what is not needed in .fnmeshignore.")
    settings = root / "fnmesh.toml"
    return PackedSource(
        filename="source.zip",
        content=_zip([(name, file.read_bytes(), os.access(file, os.X_OK)) for name, file in entries]),
        suggested_name=root.resolve().name,
        settings_toml=settings.read_text(encoding="utf-8") if settings.is_file() else None,
    )


def _pack_file(file: Path) -> PackedSource:
    """A single file becomes an entry file, whatever it is called."""
    if file.name in ENTRY_FILES:
        entry = file.name
    elif file.suffix == ".py":
        entry = PYTHON_ENTRY
    elif file.suffix in (".js", ".mjs", ".cjs"):
        entry = f"index{file.suffix}"
    else:
        raise SourceError(f"'{file}' is no function; give a directory, a .zip, or a .py, .js, .mjs or .cjs file.")
    suggested = file.resolve().parent.name if file.name in ENTRY_FILES else file.stem
    return PackedSource("source.zip", _zip([(entry, file.read_bytes(), False)]), suggested)


def _read_zip(file: Path) -> PackedSource:
    """An archive is sent as it is."""
    try:
        with zipfile.ZipFile(file) as archive:
            settings = archive.read("fnmesh.toml").decode() if "fnmesh.toml" in archive.namelist() else None
    except (zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise SourceError(f"'{file}' cannot be read as a zip archive: {error}.") from None
    return PackedSource("source.zip", file.read_bytes(), file.stem, settings)


def _walk(root: Path, prefix: str, rules: IgnoreRules) -> Iterator[tuple[str, Path]]:
    with os.scandir(root / prefix) as found:
        for entry in found:
            name, file = prefix + entry.name, Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                if not rules.excludes(name, folder=True):
                    yield from _walk(root, name + "/", rules)
            elif rules.excludes(name, folder=entry.is_dir()):
                continue
            elif entry.is_symlink() and not _stays_inside(file, root):
                raise SourceError(f"'{name}' is a link out of the source; copy what it means, or ignore it.")
            elif not file.is_file():
                raise SourceError(f"'{name}' is not a regular file; list it in .fnmeshignore.")
            else:
                yield name, file


def _stays_inside(link: Path, root: Path) -> bool:
    target = link.resolve()
    return target.is_relative_to(root) and target.is_file()


def _zip(entries: list[tuple[str, bytes, bool]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content, executable in entries:
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3
            info.external_attr = (stat.S_IFREG | (0o755 if executable else 0o644)) << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED, compresslevel=6)
    return buffer.getvalue()


def _read_lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
