"""Sources made ready to be sent: the same files always give the same bytes, and so the same digest."""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fnmesh.client.errors import SourceError
from fnmesh.client.ignore import IgnoreRules

PYTHON_ENTRY = "handler.py"
ENTRY_FILES = ("handler.py", "app.py", "main.py", "index.js", "index.mjs", "index.cjs")
MAX_FILES = 20_000
_MAX_SETTINGS_BYTES = 1024 * 1024
_SPIN_CLASS = re.compile(rb"^class\s+IncomingHandler\b", re.MULTILINE)
_END_RECORD_BYTES = 22
_MAX_COMMENT_BYTES = 65535
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class PackedSource:
    """A source as it is uploaded: a zip archive or a single file, the name it suggests, the text of its fnmesh.toml."""

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
        raise SourceError(f"'{root}' has more than {MAX_FILES:,} files; list what is not needed in .fnmeshignore.")
    settings = root / "fnmesh.toml"
    return PackedSource(
        filename="source.zip",
        content=_zip([(name, file.read_bytes(), os.access(file, os.X_OK)) for name, file in entries]),
        suggested_name=root.resolve().name,
        settings_toml=_read_text(settings) if settings.is_file() else None,
    )


def _pack_file(file: Path) -> PackedSource:
    """A single file becomes an entry file, whatever it is called.

    One for Spin is sent as it is, under its own name: the mesh writes the rest of the application.
    """
    content = file.read_bytes()
    if file.suffix == ".wasm" or (file.suffix == ".py" and _SPIN_CLASS.search(content)):
        plain = file.suffix == ".wasm" or file.stem.isidentifier()
        return PackedSource(file.name if plain else "app.py", content, _name_of(file))
    if file.name in ENTRY_FILES:
        entry = file.name
    elif file.suffix == ".py":
        entry = PYTHON_ENTRY
    elif file.suffix in (".js", ".mjs", ".cjs"):
        entry = f"index{file.suffix}"
    else:
        raise SourceError(f"'{file}' is no function; give a directory, a .zip, a .py, .js, .mjs, .cjs or .wasm file.")
    return PackedSource("source.zip", _zip([(entry, content, False)]), _name_of(file))


def _name_of(file: Path) -> str:
    """What a function of a single file is called where nothing else is said."""
    return file.resolve().parent.name if file.name in ENTRY_FILES else file.stem


def _read_zip(file: Path) -> PackedSource:
    """An archive is sent as it is: whether the rest of it is good is for the mesh to say."""
    content = file.read_bytes()
    if _entries_said(content) > MAX_FILES:
        raise SourceError(f"'{file}' has more than {MAX_FILES:,} entries; leave out what the code does not need.")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            settings = _settings_in(archive, file)
    except UnicodeDecodeError:  # a name of some file in it
        settings = None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise SourceError(f"'{file}' cannot be read as a zip archive: {error}.") from None
    return PackedSource("source.zip", content, file.stem, settings)


def _entries_said(content: bytes) -> int:
    """How many entries the end of an archive says it has (65535 for that and more): `zipfile` would read them all."""
    at = content.rfind(b"PK\x05\x06", -_END_RECORD_BYTES - _MAX_COMMENT_BYTES)
    return int(struct.unpack_from("<H", content, at + 10)[0]) if 0 <= at <= len(content) - _END_RECORD_BYTES else 0


def _settings_in(archive: zipfile.ZipFile, file: Path) -> str | None:
    if "fnmesh.toml" not in archive.namelist():
        return None
    with archive.open("fnmesh.toml") as settings:
        text = settings.read(_MAX_SETTINGS_BYTES + 1)
    if len(text) > _MAX_SETTINGS_BYTES:
        raise SourceError(f"fnmesh.toml in '{file}' is larger than {_MAX_SETTINGS_BYTES // 2**20} MiB.")
    return _decoded(text, f"fnmesh.toml in '{file}'")


def _walk(root: Path, prefix: str, rules: IgnoreRules) -> Iterator[tuple[str, Path]]:
    with os.scandir(root / prefix) as found:
        for entry in found:
            name, file = prefix + entry.name, Path(entry.path)
            shown = os.fsencode(name).decode("utf-8", "backslashreplace")
            if entry.is_dir(follow_symlinks=False):
                if not rules.excludes(name, folder=True):
                    yield from _walk(root, name + "/", rules)
            elif rules.excludes(name, folder=entry.is_dir()):
                continue
            elif entry.is_symlink() and not _stays_inside(file, root):
                raise SourceError(f"'{shown}' is a link out of the source; copy what it means, or ignore it.")
            elif not file.is_file():
                raise SourceError(f"'{shown}' is not a regular file; list it in .fnmeshignore.")
            elif shown != name:
                raise SourceError(f"The name '{shown}' is not UTF-8; rename the file, or list it in .fnmeshignore.")
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
    return _read_text(file).splitlines() if file.is_file() else []


def _read_text(file: Path) -> str:
    return _decoded(file.read_bytes(), f"'{file}'")


def _decoded(text: bytes, where: str) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise SourceError(f"{where} is not UTF-8; write it in UTF-8.") from None
