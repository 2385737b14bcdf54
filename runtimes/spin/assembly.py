"""A component in the making: somebody's imports as they are, other components, instances of them, exports."""

from __future__ import annotations

from collections.abc import Mapping

from runtimes.spin.binary import (
    PREAMBLE,
    ComposeError,
    Section,
    Sort,
    name_bytes,
    read_alias_sorts,
    read_imports,
    section_bytes,
    sections,
    u32,
)

_HEAD = (Section.TYPE, Section.IMPORT, Section.ALIAS)


class Assembly:
    """Begins with the imports of a component, types and all; `imported` are the instances among them by name.

    That component has all its imports in front, as those have that tools make of WIT; ComposeError otherwise.
    """

    def __init__(self, component: bytes) -> None:
        self._pieces: list[bytes | memoryview] = [PREAMBLE]
        self._instances = self._components = 0
        self.imported: dict[str, int] = {}
        left = sum(len(read_imports(body)) for kind, body in sections(component) if kind is Section.IMPORT)
        for kind, body in sections(component):
            if not left:
                break
            if kind is Section.CUSTOM:
                continue
            if kind not in _HEAD:
                raise ComposeError("Its imports are not in front of everything else.")
            if kind is Section.IMPORT:
                left -= self._note_imports(body)
            elif kind is Section.ALIAS:
                self._instances += sum(sort is Sort.INSTANCE for sort in read_alias_sorts(body))
            self._pieces += section_bytes(kind, body)

    def _note_imports(self, body: memoryview) -> int:
        found = read_imports(body)
        for one in found:
            if one.sort is not Sort.INSTANCE:
                raise ComposeError(f"It imports the {one.sort.name.lower()} '{one.name}': only interfaces can be.")
            self.imported[one.name] = self._new_instance()
        return len(found)

    def instantiate(self, component: bytes, places: Mapping[str, int]) -> int:
        """An instance of a component whose imports are those instances."""
        self._pieces += section_bytes(Section.COMPONENT, component)
        arguments = [name_bytes(name) + bytes([Sort.INSTANCE]) + u32(index) for name, index in places.items()]
        number = u32(self._components)
        self._pieces += section_bytes(Section.INSTANCE, u32(1), b"\0", number, u32(len(arguments)), *arguments)
        self._components += 1
        return self._new_instance()

    def exported_by(self, instance: int, name: str) -> int:
        """The interface that an instance exports by that name."""
        self._pieces += section_bytes(
            Section.ALIAS, u32(1), bytes([Sort.INSTANCE]), b"\0", u32(instance), name_bytes(name)
        )
        return self._new_instance()

    def export(self, name: str, instance: int) -> None:
        """Export an interface."""
        what = bytes([Sort.INSTANCE]) + u32(instance) + b"\0"
        self._pieces += section_bytes(Section.EXPORT, u32(1), b"\0", name_bytes(name), what)
        self._new_instance()

    def component(self) -> bytes:
        """The whole."""
        return b"".join(self._pieces)

    def _new_instance(self) -> int:
        self._instances += 1
        return self._instances - 1
