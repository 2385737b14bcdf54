"""Messages that nobody should send: a good one with a field spoiled, and for hypothesis anything at all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

_INTEGERS = {
    **dict.fromkeys((FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_ENUM), (-(2**31), 2**31 - 1)),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_STRINGS = ("\0", "a\nb", "\x7f", "\u202e", "\U0010ffff", "..", "'\"\\", "é" * 300)
_TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
_WORDS = st.sampled_from(["a", "x-1", "..", "/", "\0", "****", "%00", "'", "env", "env.A", "limits.timeout", "-"])


def spoilings(kind: type[Message], without: Collection[str] = ()) -> Iterator[Callable[[Message], None]]:
    """What can be done to a message: one field of it, or of a message within it, set to an edge of its type.

    Fields that are, or are in, one named in `without` are left alone.
    """
    for path, one in _leaves(kind, depth=2):
        if not set(path) & set(without):
            for value in _edges(one):
                yield partial(_spoil, path, one, value)


def _spoil(path: tuple[str, ...], one: Any, value: Any, message: Message) -> None:
    *outer, last = path
    for name in outer:
        message = getattr(message, name)
    if one.message_type is not None:  # a map of strings
        getattr(message, last)[value] = value
    elif one.is_repeated:
        getattr(message, last).append(value)
    else:
        setattr(message, last, value)


def _leaves(kind: type[Message], depth: int) -> Iterator[tuple[tuple[str, ...], Any]]:
    fields: Any = kind.DESCRIPTOR.fields
    for one in fields:
        if one.message_type is None or one.message_type.GetOptions().map_entry:
            yield (one.name,), one
        elif depth > 0 and not one.is_repeated:
            for path, inner in _leaves(message_factory.GetMessageClass(one.message_type), depth - 1):
                yield (one.name, *path), inner


def _edges(one: Any) -> tuple[Any, ...]:
    if one.message_type is not None or one.type == FieldDescriptor.TYPE_STRING:
        return _STRINGS
    if one.type == FieldDescriptor.TYPE_BYTES:
        return (b"\0", b"\xff\xfe")
    if one.cpp_type in _INTEGERS:
        least, most = _INTEGERS[one.cpp_type]
        return tuple(edge for edge in (least, -1, 0, 99, most) if least <= edge <= most)
    return ()


def messages(kind: type[Message], names: list[str], depth: int = 3) -> st.SearchStrategy[Message]:
    """Messages of a type; strings are now and then one of the names."""
    fields = {
        one.name: _field(one, names, depth) for one in kind.DESCRIPTOR.fields if one.message_type is None or depth > 0
    }

    def make(values: dict[str, Any]) -> Message:
        message = kind()
        for name, value in values.items():
            target = getattr(message, name)
            if isinstance(value, Message):
                target.CopyFrom(value)
                target.SetInParent()
            elif isinstance(value, dict):
                for key, one in value.items():
                    if isinstance(one, Message):
                        target[key].CopyFrom(one)
                    else:
                        target[key] = one
            elif isinstance(value, list):
                target.extend(value)
            else:
                setattr(message, name, value)
        return message

    return st.fixed_dictionaries({}, optional=fields).map(make)


def _field(one: Any, names: list[str], depth: int) -> st.SearchStrategy[Any]:
    if one.message_type is not None and one.message_type.GetOptions().map_entry:
        key, value = one.message_type.fields
        return st.dictionaries(_single(key, names, depth), _single(value, names, depth), max_size=3)
    single = _single(one, names, depth)
    return st.lists(single, max_size=3) if one.is_repeated else single


def _single(one: Any, names: list[str], depth: int) -> st.SearchStrategy[Any]:
    if one.message_type is not None:
        return messages(message_factory.GetMessageClass(one.message_type), names, depth - 1)
    if one.type == FieldDescriptor.TYPE_STRING:
        return st.one_of(st.sampled_from(names), _WORDS, _TEXT)
    if one.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=40)
    if one.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        # An endless stream is not what is tried here.
        return st.just(False) if one.name == "follow" else st.booleans()
    if one.cpp_type in _INTEGERS:
        least, most = _INTEGERS[one.cpp_type]
        known = [value.number for value in one.enum_type.values] if one.enum_type else [0, 1, -1]
        edges = [edge for edge in (*known, least, most) if least <= edge <= most]
        return st.one_of(st.sampled_from(edges), st.integers(least, most))
    return st.floats()
