"""The outside of WebAssembly components in their binary format: sections, names, imports, exports.

Enough of the format to take components apart and put them together; what is inside of core modules, types and
canonical functions is left to the host's validator. Format: the Binary.md of the component model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

MAGIC = b"\0asm"
COMPONENT_VERSION = b"\x0d\0\x01\0"
MODULE_VERSION = b"\x01\0\0\0"
PREAMBLE = MAGIC + COMPONENT_VERSION
_U32_BYTES = 5


class ComposeError(Exception):
    """A component cannot be used; the text is one sentence that says why."""


class Section(IntEnum):
    """Kinds of sections."""

    CUSTOM = 0
    CORE_MODULE = 1
    CORE_INSTANCE = 2
    CORE_TYPE = 3
    COMPONENT = 4
    INSTANCE = 5
    ALIAS = 6
    TYPE = 7
    CANON = 8
    START = 9
    IMPORT = 10
    EXPORT = 11
    VALUE = 12


class Sort(IntEnum):
    """Kinds of what components import and export."""

    CORE = 0
    FUNCTION = 1
    VALUE = 2
    TYPE = 3
    COMPONENT = 4
    INSTANCE = 5


@dataclass(frozen=True, slots=True)
class Extern:
    """An import or an export; `index` is that of an export's definition, 0 for imports."""

    name: str
    sort: Sort
    index: int = 0


class Reader:
    """Reads numbers and names of a piece of a file. Raises ComposeError where it ends too early."""

    def __init__(self, data: memoryview, what: str) -> None:
        self._data = data
        self._at = 0
        self._what = what

    @property
    def done(self) -> bool:
        """Whether all of it has been read."""
        return self._at >= len(self._data)

    def byte(self) -> int:
        """The next byte."""
        if self._at >= len(self._data):
            raise ComposeError(f"The file is cut off or damaged: {self._what} ends too early.")
        self._at += 1
        return self._data[self._at - 1]

    def u32(self) -> int:
        """An unsigned number in LEB128."""
        value = 0
        for position in range(_U32_BYTES):
            byte = self.byte()
            value |= (byte & 0x7F) << (7 * position)
            if byte < 0x80:
                if value >= 1 << 32:
                    break
                return value
        raise ComposeError(f"The file is damaged: {self._what} has a number that is too large.")

    def take(self, length: int) -> memoryview:
        """The next bytes."""
        if length > len(self._data) - self._at:
            raise ComposeError(f"The file is cut off or damaged: {self._what} ends too early.")
        self._at += length
        return self._data[self._at - length : self._at]

    def name(self) -> str:
        """A name with its length before it."""
        try:
            return bytes(self.take(self.u32())).decode()
        except UnicodeDecodeError:
            raise ComposeError(f"The file is damaged: {self._what} has a name that is not UTF-8.") from None

    def count(self) -> int:
        """The number of items that follow; each has a byte at least."""
        count = self.u32()
        if count > len(self._data) - self._at:
            raise ComposeError(f"The file is cut off or damaged: {self._what} ends too early.")
        return count

    def odd(self, about: str) -> ComposeError:
        """An error about what was just read."""
        return ComposeError(f"The file is damaged or of a newer format: {self._what} has {about}.")


def sections(component: bytes) -> Iterator[tuple[Section, memoryview]]:
    """The sections of a component in their order. Raises ComposeError for what is no component, or not all of one."""
    if component[:4] != MAGIC:
        raise ComposeError("This is no WebAssembly: the file does not begin with its mark.")
    if component[4:8] == MODULE_VERSION:
        raise ComposeError(
            "This is a core module, not a component: build it with a target that makes components (wasm32-wasip2), or"
            " turn it into one with 'wasm-tools component new'."
        )
    if component[4:8] != COMPONENT_VERSION:
        raise ComposeError("This is WebAssembly of a version that is not known here, or the file is damaged.")
    reader = Reader(memoryview(component)[8:], "the list of sections")
    while not reader.done:
        number = reader.byte()
        body = reader.take(reader.u32())
        try:
            kind = Section(number)
        except ValueError:
            raise reader.odd(f"a section of an unknown kind ({number})") from None
        yield kind, body


def read_imports(body: memoryview) -> list[Extern]:
    """What an import section imports."""
    reader = Reader(body, "an import section")
    found = []
    for _ in range(reader.count()):
        name = _extern_name(reader)
        found.append(Extern(name, _skip_description(reader)))
    _check_end(reader)
    return found


def read_exports(body: memoryview) -> list[Extern]:
    """What an export section exports; a type that it states beside is left out."""
    reader = Reader(body, "an export section")
    found = []
    for _ in range(reader.count()):
        name = _extern_name(reader)
        sort = _sort(reader)
        index = reader.u32()
        described = reader.byte()
        if described == 1:
            _skip_description(reader)
        elif described != 0:
            raise reader.odd(f"an export with the mark {described}")
        found.append(Extern(name, sort, index))
    _check_end(reader)
    return found


def read_alias_sorts(body: memoryview) -> list[Sort]:
    """The kinds of what an alias section names."""
    reader = Reader(body, "an alias section")
    found = []
    for _ in range(reader.count()):
        found.append(_sort(reader))
        target = reader.byte()
        if target in (0, 1):
            reader.u32()
            reader.name()
        elif target == 2:
            reader.u32()
            reader.u32()
        else:
            raise reader.odd(f"an alias of an unknown kind ({target})")
    _check_end(reader)
    return found


def _extern_name(reader: Reader) -> str:
    mark = reader.byte()
    if mark not in (0, 1):
        raise reader.odd(f"a name of an unknown kind ({mark})")
    return reader.name()


def _sort(reader: Reader) -> Sort:
    number = reader.byte()
    try:
        sort = Sort(number)
    except ValueError:
        raise reader.odd(f"a thing of an unknown kind ({number})") from None
    if sort is Sort.CORE:
        reader.byte()
    return sort


def _skip_description(reader: Reader) -> Sort:
    """Reads what an import or a typed export says of its type; returns only the kind."""
    sort = _sort(reader)
    if sort is Sort.VALUE and reader.byte() not in (0, 1):
        raise reader.odd("a value of an unknown kind")
    if sort is Sort.TYPE:
        bound = reader.byte()
        if bound == 1:
            return sort
        if bound != 0:
            raise reader.odd(f"a type with an unknown bound ({bound})")
    reader.u32()
    return sort


def _check_end(reader: Reader) -> None:
    if not reader.done:
        raise reader.odd("more than it says")


# --- writing ---


def u32(number: int) -> bytes:
    """An unsigned number in LEB128."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def name_bytes(name: str) -> bytes:
    """A name with its length before it."""
    encoded = name.encode()
    return u32(len(encoded)) + encoded


def section_bytes(kind: Section, *pieces: bytes | memoryview) -> list[bytes | memoryview]:
    """A section as pieces to be joined, so that what is large is copied once."""
    return [bytes([kind]) + u32(sum(map(len, pieces))), *pieces]
