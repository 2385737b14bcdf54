"""Zip archives as nobody should send them, made without making what they pretend to hold."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

Change = Callable[[zipfile.ZipInfo], None]
Entry = tuple[str, bytes, Change | None]

MIB = 1024 * 1024
_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END64 = struct.Struct("<4sQ2H2L4Q")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END = struct.Struct("<4s4H2LH")
_DEFLATED, _UTF8, _VERSION, _DATE = 8, 0x800, 45, 0x21


def archive(*entries: Entry | tuple[str, bytes]) -> io.BytesIO:
    """An archive of names and contents; the third part of an entry may change its ZipInfo. Names stay as given."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content, *change in entries:
            info = zipfile.ZipInfo("x")
            info.filename = name
            info.compress_type = zipfile.ZIP_DEFLATED
            if change and change[0] is not None:
                change[0](info)
            file.writestr(info, content)
    return out


def mode(kind: int) -> Change:
    """Makes an entry a link, a device...: one of stat.S_IF*."""

    def change(info: zipfile.ZipInfo) -> None:
        info.external_attr = (kind | 0o755) << 16

    return change


def with_raw_name(entry: bytes) -> bytes:
    """An archive of a good handler and a file with these bytes as its name."""
    placeholder = b"N" * len(entry)
    made = archive(("handler.py", b"def handler(event): return 1\n"), (placeholder.decode(), b"x"))
    return made.getvalue().replace(placeholder, entry)


def bomb(unpacked_mib: int, *, says_bytes: int | None = None) -> bytes:
    """An archive of a good handler and `zeros`, which inflates to `unpacked_mib`; about a thousandth of that long.

    Its directory tells the truth of the size, or `says_bytes`. Its checksum is wrong: nobody may get that far.
    """
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = packer.compress(b"\0" * MIB) + packer.flush(zlib.Z_FULL_FLUSH)
    zeros = piece * unpacked_mib + b"\x03\x00"
    handler = zlib.compress(_HANDLER, 9, -15)
    return _assembled(
        _Packed(b"handler.py", handler, len(_HANDLER), zlib.crc32(_HANDLER)),
        _Packed(b"zeros", zeros, unpacked_mib * MIB if says_bytes is None else says_bytes, 0),
    )


def crowd(entries: int) -> bytes:
    """An archive whose directory really has that many entries, of empty files; 53 bytes for each of them."""
    before = _CENTRAL.pack(
        b"PK\x01\x02", 3 << 8 | _VERSION, _VERSION, 0, 0, 0, _DATE, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0
    )  # fmt: skip
    local = _LOCAL.pack(b"PK\x03\x04", _VERSION, 0, 0, 0, _DATE, 0, 0, 0, 7, 0) + b"%07x" % 0
    return local + _with_end(b"".join(before + b"%07x" % number for number in range(entries)), entries, len(local))


_HANDLER = b"def handler(event):\n    return 1\n"


@dataclass(frozen=True)
class _Packed:
    name: bytes
    data: bytes
    says_bytes: int
    checksum: int


def _assembled(*files: _Packed) -> bytes:
    out, directory = bytearray(), bytearray()
    for file in files:
        # A size of 4 GiB and more has its place in the extra field of ZIP64.
        large = file.says_bytes >= 0xFFFFFFFF
        said = 0xFFFFFFFF if large else file.says_bytes
        extra = struct.pack("<2HQ", 1, 8, file.says_bytes) if large else b""
        common = (_UTF8, _DEFLATED, 0, _DATE, file.checksum, len(file.data), said, len(file.name), len(extra))
        directory += _CENTRAL.pack(
            b"PK\x01\x02", 3 << 8 | _VERSION, _VERSION, *common, 0, 0, 0, (stat.S_IFREG | 0o644) << 16, len(out)
        )
        directory += file.name + extra
        out += _LOCAL.pack(b"PK\x03\x04", _VERSION, *common) + file.name + extra + file.data
    return bytes(out) + _with_end(bytes(directory), len(files), len(out))


def _with_end(directory: bytes, entries: int, at: int) -> bytes:
    """The directory and its end records, with those of ZIP64 where the old ones have no room."""
    end64 = b""
    if entries >= 0xFFFF:
        end64 = _END64.pack(
            b"PK\x06\x06", 44, _VERSION, _VERSION, 0, 0, entries, entries, len(directory), at
        ) + _END64_LOCATOR.pack(b"PK\x06\x07", 0, at + len(directory), 1)  # fmt: skip
    count = min(entries, 0xFFFF)
    return directory + end64 + _END.pack(b"PK\x05\x06", 0, 0, count, count, len(directory), at, 0)


def in_pieces(data: bytes, piece: int = 512 * 1024) -> Iterable[bytes]:
    """The bytes as they are uploaded."""
    return (data[at : at + piece] for at in range(0, len(data), piece))
