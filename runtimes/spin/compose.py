"""Puts a Spin component and the mesh's provider together into one component that `wasmtime serve` can run.

A component that was built for Spin imports interfaces that wasmtime does not have (fermyon:spin/*, spin:*,
wasi:keyvalue, wasi:config). The provider exports them, and imports what it takes from wasmtime, all of it with
complete types. So the result is

    the provider's imports, as they are         (component
    the provider, given those                     (component $provider ...) (instance $p (instantiate $provider ...))
    the app: what it imports comes from the       (component $app ...)
    provider's exports, else from the imports     (instance $a (instantiate $app (with ...) ...))
    the front, given the app's handler            (component $front ...) (instance $f (instantiate $front ...))
    and its handler                               (export "wasi:http/incoming-handler@0.2.0" ...))

and none of them is changed. An interface of another version fits where semantic versioning says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from runtimes.spin.assembly import Assembly
from runtimes.spin.binary import ComposeError, Extern, Section, Sort, read_exports, read_imports, sections

__all__ = ["HANDLER", "ComponentFacts", "ComposeError", "compose", "front_wasm", "inspect", "provider_wasm"]

HANDLER = "wasi:http/incoming-handler"
_PROVIDER = Path(__file__).parent / "provider"
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")
_NAMED_AT_MOST = 5


@dataclass(frozen=True, slots=True)
class ComponentFacts:
    """What a component imports and exports, by full names (`wasi:http/types@0.2.0`)."""

    imports: tuple[str, ...]
    exports: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Outside:
    imports: tuple[Extern, ...]
    exports: tuple[Extern, ...]


@cache
def provider_wasm() -> bytes:
    """The mesh's provider, see provider/README.md."""
    return (_PROVIDER / "provider.wasm").read_bytes()


@cache
def front_wasm() -> bytes:
    """The component that stands before the app's handler."""
    return (_PROVIDER / "front.wasm").read_bytes()


def inspect(component: bytes, provider: bytes | None = None) -> ComponentFacts:
    """What a component imports and exports.

    Raises ComposeError, with a sentence for its author, for all that `compose` would refuse: what is no component or
    not all of one, exports no HTTP handler, or imports what neither the provider (None: the mesh's own) nor wasmtime
    offers. Whether the code inside is valid is found out by compiling it.
    """
    outside = _look(component)
    offer = _look(provider_wasm() if provider is None else provider)
    _handler(outside)
    _sources(outside, offer)
    return ComponentFacts(_names(outside.imports), _names(outside.exports))


def compose(component: bytes, provider: bytes | None = None, front: bytes | None = None) -> bytes:
    """The component with all that it needs; None stands for the mesh's own. Raises ComposeError."""
    provider = provider_wasm() if provider is None else provider
    front = front_wasm() if front is None else front
    app, offer, before = _look(component), _look(provider), _look(front)
    handler = _handler(app)
    sources = _sources(app, offer)
    made = Assembly(provider)
    provided = made.instantiate(provider, {one.name: made.imported[one.name] for one in offer.imports})
    plugged: dict[str, int] = {}
    places: dict[str, int] = {}
    for name, (kind, source) in sources.items():
        if kind == "import":
            places[name] = made.imported[source]
            continue
        if source not in plugged:
            plugged[source] = made.exported_by(provided, source)
        places[name] = plugged[source]
    inside = made.exported_by(made.instantiate(component, places), handler.name)
    shown = _handler(before)
    around = {one.name: inside if one.name == shown.name else made.imported[one.name] for one in before.imports}
    made.export(shown.name, made.exported_by(made.instantiate(front, around), shown.name))
    return made.component()


def _look(component: bytes) -> _Outside:
    imports: list[Extern] = []
    exports: list[Extern] = []
    for kind, body in sections(component):
        if kind is Section.IMPORT:
            imports += read_imports(body)
        elif kind is Section.EXPORT:
            exports += read_exports(body)
    return _Outside(tuple(imports), tuple(exports))


def _handler(app: _Outside) -> Extern:
    for one in app.exports:
        if one.sort is Sort.INSTANCE and one.name.partition("@")[0] == HANDLER:
            return one
    raise ComposeError(
        f"It is a component, but exports no {HANDLER}: it does not answer HTTP"
        f" (exported: {_told(one.name for one in app.exports)})."
    )


def _sources(app: _Outside, offer: _Outside) -> dict[str, tuple[str, str]]:
    """Where each import of the app comes from: ("export" | "import", name there). Raises ComposeError."""
    found: dict[str, tuple[str, str]] = {}
    unknown = []
    for one in app.imports:
        if one.sort is not Sort.INSTANCE:
            raise ComposeError(f"It imports the {one.sort.name.lower()} '{one.name}': only interfaces can be offered.")
        for kind, others in (("export", offer.exports), ("import", offer.imports)):
            match = _match(one.name, [other.name for other in others if other.sort is Sort.INSTANCE])
            if match is not None:
                found[one.name] = (kind, match)
                break
        else:
            unknown.append(one.name)
    if unknown:
        raise ComposeError(f"It imports what nothing here offers: {_told(unknown)}.")
    return found


def _match(wanted: str, there: Iterable[str]) -> str | None:
    """The name of an interface that fits: the same, or one of a version that is compatible."""
    names = list(there)
    if wanted in names:
        return wanted
    track = _track(wanted)
    return next((name for name in names if track is not None and _track(name) == track), None)


def _track(name: str) -> tuple[str, str] | None:
    """What all compatible versions of an interface have in common; None for versions that fit nothing else."""
    base, _, version = name.partition("@")
    parts = _VERSION.fullmatch(version)
    if parts is None:
        return None
    major, minor, _ = parts.groups()
    if major != "0":
        return base, major
    return (base, f"0.{minor}") if minor != "0" else None


def _names(externs: Iterable[Extern]) -> tuple[str, ...]:
    return tuple(one.name for one in externs)


def _told(names: Iterable[str]) -> str:
    listed = sorted(names)
    more = len(listed) - _NAMED_AT_MOST
    shown = ", ".join(name[:200] for name in listed[:_NAMED_AT_MOST])
    return (f"{shown} and {more} more" if more > 0 else shown) or "nothing"
