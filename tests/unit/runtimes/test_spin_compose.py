"""Composition: what is put together, and what is refused in which words."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from runtimes.spin import host
from runtimes.spin.assembly import Assembly
from runtimes.spin.binary import PREAMBLE, Section, Sort, name_bytes, read_exports, section_bytes, sections, u32
from runtimes.spin.compose import ComposeError, compose, front_wasm, inspect, provider_wasm
from tests.support.spin_tree import probe_wasm

HANDLER = "wasi:http/incoming-handler@0.2.0"


def exported(component: bytes) -> tuple[str, ...]:
    found = [read_exports(body) for kind, body in sections(component) if kind is Section.EXPORT]
    return tuple(one.name for exports in found for one in exports)


def an_import(name: str, sort: Sort = Sort.INSTANCE) -> bytes:
    return b"\0" + name_bytes(name) + bytes([sort]) + u32(0)


def an_export(name: str, sort: Sort = Sort.INSTANCE, *, typed: bytes = b"\0", mark: bytes = b"\0") -> bytes:
    return mark + name_bytes(name) + bytes([sort]) + u32(0) + typed


def component(imports: list[bytes] | None = None, exports: list[bytes] | None = None) -> bytes:
    """The outside of a component; no host would run it."""
    shown = [an_export(HANDLER)] if exports is None else exports
    pieces = section_bytes(Section.IMPORT, u32(len(imports or [])), *(imports or []))
    pieces += section_bytes(Section.EXPORT, u32(len(shown)), *shown)
    return b"".join([PREAMBLE, *pieces])


def test_a_component_is_put_together_with_all_it_needs_and_nothing_is_changed() -> None:
    composed = compose(probe_wasm())
    assert exported(composed) == (HANDLER,)
    inside = [bytes(body) for kind, body in sections(composed) if kind is Section.COMPONENT]
    assert inside == [provider_wasm(), probe_wasm(), front_wasm()]
    assert compose(probe_wasm()) == composed


def test_facts_tell_imports_and_exports() -> None:
    facts = inspect(probe_wasm())
    assert facts.exports == (HANDLER,)
    assert "fermyon:spin/key-value@2.0.0" in facts.imports and "wasi:http/types@0.2.0" in facts.imports


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no WebAssembly"),
        (b"print('hello')", "no WebAssembly"),
        (b"\0asm", "version that is not known"),
        (b"\0asm\x01\0\0\0", "core module, not a component"),
        (b"\0asm\x0d\0\x02\0", "version that is not known"),
        (PREAMBLE, "exports no wasi:http/incoming-handler"),
        (PREAMBLE + b"\x63\0", "a section of an unknown kind (99)"),
        (PREAMBLE + b"\x0a\x80\x80\x80\x80\x80\x01", "a number that is too large"),
        (PREAMBLE + b"\x0a\xff\xff\xff\xff\x7f", "a number that is too large"),
        (PREAMBLE + b"\x0a\x05\x01", "cut off or damaged"),
        (probe_wasm()[:-1], "cut off or damaged"),
        (probe_wasm()[: len(probe_wasm()) // 2], "cut off or damaged"),
        (component([an_import("x:y/z@1.0.0"), an_import("a:b/c@0.1.0")]), "nothing here offers: a:b/c@0.1.0, x:y/z"),
        (component([an_import("wasi:http/types@0.3.0")]), "offers: wasi:http/types@0.3.0"),
        (component([an_import(f"x:y/z{n}@1.0.0") for n in range(9)]), "and 4 more"),
        (component([an_import("run", Sort.FUNCTION)]), "It imports the function 'run'"),
        (component([an_import("c", Sort.COMPONENT)]), "It imports the component 'c'"),
        (component(exports=[an_export("wasi:cli/run@0.2.0")]), "does not answer HTTP (exported: wasi:cli/run@0.2.0)"),
        (component(exports=[an_export(HANDLER, Sort.FUNCTION)]), "does not answer HTTP"),
        (component(exports=[an_export(HANDLER, mark=b"\x07")]), "a name of an unknown kind (7)"),
        (component(exports=[an_export(HANDLER, typed=b"\x02")]), "an export with the mark 2"),
        (component(exports=[b"\0\x02\xff\xfe\x05\0\0"]), "not UTF-8"),
        (PREAMBLE + b"\x0b\x03\0\0\0", "more than it says"),
        (PREAMBLE + b"\x0a\x02\x7f\0", "an import section ends too early"),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(content: bytes, words: str) -> None:
    for call in (inspect, compose):
        with pytest.raises(ComposeError) as refused:
            call(content)
        assert words in str(refused.value) and str(refused.value).endswith((".", "'.", ")."))


def test_typed_exports_are_understood() -> None:
    for typed in (b"\x01\x05\0", b"\x01\x01\0", b"\x01\x03\0\0", b"\x01\x03\x01", b"\x01\x00\x11\0", b"\x01\x02\0\0"):
        assert inspect(component(exports=[an_export(HANDLER, typed=typed)])).exports == (HANDLER,)


@pytest.mark.parametrize(
    "name", ["wasi:http/types@0.2.9", "wasi:io/streams@0.2.0", "spin:sqlite/sqlite@3.9.1", "fermyon:spin/llm@2.0.0"]
)
def test_compatible_versions_fit(name: str) -> None:
    assert inspect(component([an_import(name)])).imports == (name,)


@pytest.mark.parametrize(
    "name", ["wasi:config/store@0.2.0-draft-2024-09-28", "fermyon:spin/llm", "wasi:http/types@1.2"]
)
def test_other_versions_do_not(name: str) -> None:
    with pytest.raises(ComposeError, match="nothing here offers"):
        inspect(component([an_import(name)]))


def test_a_provider_must_have_its_imports_in_front() -> None:
    behind = component() + b"".join(section_bytes(Section.IMPORT, u32(1), an_import("a:b/c@1.0.0")))
    with pytest.raises(ComposeError, match="not in front"):
        Assembly(behind)
    with pytest.raises(ComposeError, match="imports the function"):
        Assembly(component([an_import("f", Sort.FUNCTION)]))


def test_the_key_of_compiled_code_changes_with_all_it_depends_on() -> None:
    one = host.Host("wasmtime", Path("/x"), "49.0.3")
    keys = {
        host.cache_key("sha256:a", one),
        host.cache_key("sha256:b", one),
        host.cache_key("sha256:a", host.Host("wasmtime", Path("/x"), "49.0.4")),
        host.cache_key("sha256:a", one, ()),
    }
    assert len(keys) == 4
    assert host.cache_key("sha256:a", host.Host("wasmtime", Path("/y"), "49.0.3")) in keys


_SOME = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def tried(content: bytes) -> None:
    """Nothing but ComposeError comes out, in a sentence; what is made can be read again."""
    try:
        composed = compose(content)
    except ComposeError as error:
        assert str(error).endswith(".") and len(str(error)) < 2000
    else:
        assert exported(composed) == (HANDLER,)


@_SOME
@given(st.binary(max_size=200))
@example(b"\x0a\x00" * 50)
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    tried(body)
    tried(PREAMBLE + body)


@_SOME
@given(st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(0, 255)), min_size=1, max_size=8))
def test_any_damage_is_read_or_refused(changes: list[tuple[int, int]]) -> None:
    content = bytearray(probe_wasm())
    for at, value in changes:
        content[at % len(content)] = value
    tried(bytes(content))


@_SOME
@given(st.integers(0, 1 << 30), st.integers(0, 1 << 30), st.binary(max_size=20))
def test_any_piece_may_be_missing_or_foreign(start: int, size: int, other: bytes) -> None:
    content = probe_wasm()
    at = start % len(content)
    tried(content[:at] + other + content[at + size % 64 :])
