"""Checks an uploaded zip before a byte of it is unpacked, and unpacks what passed.

The archive comes from anybody. Nothing is taken from it but names, sizes and contents of plain files.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

_EOCD = struct.Struct("<4s4H2LH")
_EOCD_TAIL_BYTES = _EOCD.size + 65535
_EOCD64_LOCATOR_BYTES = 20
_EOCD64 = struct.Struct("<4sQ2H2L4Q")
_DIRECTORY_ENTRY_BYTES_MAX = 512  # on average; a name and its extra fields
_NAME_BYTES_MAX = 255
_PATH_BYTES_MAX = 1024
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"^[A-Za-z]:")
_UTF8_FLAG = 0x800
_ENCRYPTED_FLAG = 0x1
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA})
_COPY_BYTES = 256 * 1024


class SourceInvalid(Exception):
    """The source cannot be built from; the text is one sentence for its author."""


@dataclass(frozen=True)
class ArchiveLimits:
    """What an archive may grow to."""

    total_bytes: int
    entries: int


@dataclass(frozen=True)
class _Entry:
    path: PurePosixPath
    info: zipfile.ZipInfo


def is_zip(file: BinaryIO) -> bool:
    """Whether `file` begins like a zip archive, also an empty one."""
    file.seek(0)
    return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def check_filename(name: str) -> str:
    """The name of a single-file source, if it is a plain one. Raises SourceInvalid."""
    if not name or name in (".", "..") or "/" in name or "\\" in name or _CONTROL.search(name):
        raise SourceInvalid(f"{_shown(name)} is not a plain file name; send one such as handler.py.")
    if len(name.encode("utf-8", "surrogatepass")) > _NAME_BYTES_MAX:
        raise SourceInvalid(f"The file name is longer than {_NAME_BYTES_MAX} bytes; send a shorter one.")
    return name


def list_files(file: BinaryIO, limits: ArchiveLimits) -> list[PurePosixPath]:
    """Paths of the files in the archive as they will lie in the unpacked tree, sorted. Raises SourceInvalid."""
    with _open(file, limits) as archive:
        return sorted(entry.path for entry in _entries(archive, limits))


def read_start(file: BinaryIO, path: str, limits: ArchiveLimits, max_bytes: int) -> bytes:
    """The first bytes of one of the files that `list_files` told of. Raises SourceInvalid."""
    with _open(file, limits) as archive:
        found = next(entry for entry in _entries(archive, limits) if str(entry.path) == path)
        try:
            with archive.open(found.info) as content:
                return content.read(max_bytes)
        except Exception as error:  # the decompressors have error types of their own (zlib.error, LZMAError)
            raise SourceInvalid(f"{_shown(path)} in the archive cannot be read: {error}.") from error


def unpack(file: BinaryIO, into: Path, limits: ArchiveLimits) -> int:
    """Write the archive's files below the empty directory `into`; returns their size in bytes.

    Nothing outside `into` is touched. Raises SourceInvalid, before anything is written where it can be told.
    """
    total = 0
    with _open(file, limits) as archive:
        for entry in _entries(archive, limits):
            target = into / entry.path
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            total += _write(archive, entry, target)
    return total


def _write(archive: zipfile.ZipFile, entry: _Entry, target: Path) -> int:
    mode = 0o755 if (entry.info.external_attr >> 16) & 0o111 else 0o644
    written = 0
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        with archive.open(entry.info) as content, os.fdopen(os.open(target, flags, mode), "wb") as out:
            while piece := content.read(_COPY_BYTES):
                written += len(piece)
                if written > entry.info.file_size:
                    raise SourceInvalid(f"{_shown(entry.path)} in the archive is larger than it says.")
                out.write(piece)
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError, struct.error) as error:
        raise SourceInvalid(f"{_shown(entry.path)} in the archive cannot be read: {error}.") from error
    except Exception as error:  # the decompressors have error types of their own (zlib.error, LZMAError)
        if isinstance(error, SourceInvalid):
            raise
        raise SourceInvalid(f"{_shown(entry.path)} in the archive is damaged: {error}.") from error
    target.chmod(mode)
    return written


def _open(file: BinaryIO, limits: ArchiveLimits) -> zipfile.ZipFile:
    if _directory_bytes(file) > limits.entries * _DIRECTORY_ENTRY_BYTES_MAX:
        raise SourceInvalid(_too_many(limits))
    try:
        file.seek(0)
        return zipfile.ZipFile(file)
    except UnicodeDecodeError as error:
        raise SourceInvalid("A file name in the archive is not UTF-8; rename the file and pack it again.") from error
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, struct.error) as error:
        raise SourceInvalid(f"The archive cannot be read as a zip: {error}.") from error


def _directory_bytes(file: BinaryIO) -> int:
    """Size of the archive's directory by its end records: `zipfile` would read it whole, whatever its size."""
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - _EOCD_TAIL_BYTES)
    file.seek(start)
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _EOCD.size:
        raise SourceInvalid("The archive has no directory at its end: it was cut off, or is not a zip.")
    directory = int(_EOCD.unpack_from(tail, at)[5])
    record = start + at - _EOCD64_LOCATOR_BYTES - _EOCD64.size
    if tail[max(0, at - _EOCD64_LOCATOR_BYTES) :].startswith(b"PK\x06\x07") and record >= 0:
        file.seek(record)
        directory = max(directory % 0xFFFFFFFF, int(_EOCD64.unpack(file.read(_EOCD64.size))[8]))
    return directory


def _entries(archive: zipfile.ZipFile, limits: ArchiveLimits) -> list[_Entry]:
    infos = archive.infolist()
    if len(infos) > limits.entries:
        raise SourceInvalid(_too_many(limits))
    found: dict[PurePosixPath, _Entry] = {}
    total = 0
    for info in infos:
        path = _path(info)
        _check_kind(info, path)
        if info.is_dir() or not path.parts or path.parts[0] == "__MACOSX" or path.name == ".DS_Store":
            continue
        if path in found:
            raise SourceInvalid(f"{_shown(path)} is in the archive twice; pack it again.")
        total += info.file_size
        if total > limits.total_bytes:
            mib = limits.total_bytes // 2**20
            raise SourceInvalid(f"The archive unpacks to more than {mib} MiB; leave out what the code does not need.")
        found[path] = _Entry(path, info)
    for path in found:
        if clash := next((parent for parent in path.parents if parent in found), None):
            raise SourceInvalid(f"{_shown(clash)} is both a file and a directory in the archive; pack it again.")
    return _without_single_directory(list(found.values()))


def _path(info: zipfile.ZipInfo) -> PurePosixPath:
    raw = info.orig_filename
    if not info.flag_bits & _UTF8_FLAG and not raw.isascii():
        try:  # many tools write UTF-8 without saying so; `zipfile` then reads it as cp437
            raw = raw.encode("cp437").decode("utf-8")
        except UnicodeError as error:
            shown = raw.encode("cp437", "replace").decode("utf-8", "backslashreplace")
            raise SourceInvalid(
                f"The name '{shown[:120]}' in the archive is not UTF-8; rename the file and pack it again."
            ) from error
    if _CONTROL.search(raw):
        raise SourceInvalid(f"The name {_shown(raw)} in the archive has control characters; rename the file.")
    if raw.startswith("/") or _DRIVE.match(raw):
        raise SourceInvalid(f"The archive has the absolute path {_shown(raw)}; pack it with relative paths.")
    if "\\" in raw:
        raise SourceInvalid(f"The name {_shown(raw)} in the archive has a backslash; pack it with forward slashes.")
    path = PurePosixPath(raw)
    if ".." in path.parts:
        raise SourceInvalid(f"The path {_shown(raw)} leads out of the archive; pack it without '..'.")
    if len(os.fsencode(str(path))) > _PATH_BYTES_MAX or any(
        len(os.fsencode(part)) > _NAME_BYTES_MAX for part in path.parts
    ):
        raise SourceInvalid(f"The name {_shown(raw)} in the archive is too long; use a shorter one.")
    return path


def _check_kind(info: zipfile.ZipInfo, path: PurePosixPath) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        raise SourceInvalid(f"{_shown(path)} in the archive is a link; pack the file itself.")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise SourceInvalid(f"{_shown(path)} in the archive is a device or a pipe; leave it out.")
    if info.flag_bits & _ENCRYPTED_FLAG:
        raise SourceInvalid(f"{_shown(path)} in the archive is encrypted; pack it without a password.")
    if info.compress_type not in _METHODS:
        raise SourceInvalid(f"{_shown(path)} in the archive is compressed in an unknown way; use deflate.")


def _without_single_directory(entries: list[_Entry]) -> list[_Entry]:
    """Without the one top-level directory that holds everything, as `zip -r app.zip app` makes it."""
    tops = {entry.path.parts[0] for entry in entries}
    if len(tops) != 1 or any(len(entry.path.parts) == 1 for entry in entries):
        return entries
    return [_Entry(PurePosixPath(*entry.path.parts[1:]), entry.info) for entry in entries]


def _too_many(limits: ArchiveLimits) -> str:
    return f"The archive has more than {limits.entries:,} entries; leave out what the code does not need."


def _shown(name: object) -> str:
    text = str(name)
    return repr(text if len(text) <= 120 else text[:117] + "...")
