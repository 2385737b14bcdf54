"""spin.toml, version 2 of the format: read, checked, and written for a source that is a single file.

One function is one HTTP component: an application with several of them is several functions. What a manifest asks
to be run or fetched (`build.command`, a `source` with a url) is never run or fetched.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from runtimes.spin.application import (
    DEFAULT_SOURCE,
    MANIFEST_VERSION,
    Mount,
    SpinApp,
    Variable,
    from_json,
    of_single_file,
    write,
)

__all__ = [
    "FILE", "MISSING", "ManifestInvalid", "Mount", "SpinApp", "Variable", "from_json", "inside", "of_single_file",
    "parse", "python_module", "write",
]  # fmt: skip

FILE = "spin.toml"
MISSING = "spin.toml not found in root directory"
_KEBAB = re.compile(r"[A-Za-z][A-Za-z0-9]*(-[A-Za-z][A-Za-z0-9]*)*")
_SNAKE = re.compile(r"[a-z][a-z0-9_]*")
_TOP = frozenset({"spin_manifest_version", "application", "variables", "trigger", "component"})
_APPLICATION = frozenset({"name", "version", "description", "authors", "trigger", "tool"})
_VARIABLE = frozenset({"default", "required", "secret"})
_COMPONENT = frozenset(
    {
        *("source", "description", "variables", "environment", "files", "exclude_files", "allowed_http_hosts"),
        *("allowed_outbound_hosts", "key_value_stores", "sqlite_databases", "ai_models", "build", "tool"),
        *("dependencies", "dependencies_inherit_configuration", "targets"),
    }
)
_BUILD = frozenset({"command", "workdir", "watch"})


class ManifestInvalid(ValueError):
    """spin.toml cannot be used; the text is one sentence for its author."""


def parse(content: bytes) -> SpinApp:
    """The application of a spin.toml. Raises ManifestInvalid."""
    try:
        table = tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ManifestInvalid(f"spin.toml is not UTF-8: {error.reason} at byte {error.start}.") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ManifestInvalid(f"spin.toml is not valid TOML: {error}.") from None
    _check_version(table)
    _known(table, _TOP, "spin.toml")
    application = _table(table, "application", "spin.toml")
    _known(application, _APPLICATION, "[application]")
    component_id, routes = _triggers(table)
    component = _component(table, component_id)
    where = f"[component.{component_id}]"
    _known(component, _COMPONENT, where)
    build = _table(component, "build", where)
    _known(build, _BUILD, f"[component.{component_id}.build]")
    if component.get("dependencies"):
        raise ManifestInvalid(
            f"{where} in spin.toml has dependencies: put the component together with them first, and name the result"
            " as its source."
        )
    name = _text(application, "name", "[application]")
    if not name:
        raise ManifestInvalid('spin.toml has no name: write name = "..." below [application].')
    commands = build.get("command", "")
    return SpinApp(
        name=name,
        component=component_id,
        source=_source(component, component_id),
        version=_text(application, "version", "[application]") or "0.1.0",
        description=_text(application, "description", "[application]"),
        routes=routes,
        allowed_outbound_hosts=_hosts(component, where),
        variables=_variables(table),
        component_variables=_texts(component, "variables", where),
        files=_mounts(component, where),
        exclude_files=tuple(
            inside(one, f"one of the exclude_files of {where}") for one in _list(component, "exclude_files", where)
        ),
        key_value_stores=_list(component, "key_value_stores", where),
        environment=_texts(component, "environment", where),
        build_command=commands if isinstance(commands, str) else " && ".join(map(str, commands)),
    )


def _check_version(table: Mapping[str, Any]) -> None:
    version = table.get("spin_manifest_version")
    if version is None:
        raise ManifestInvalid("spin.toml has no spin_manifest_version: write spin_manifest_version = 2 at its top.")
    if version != MANIFEST_VERSION or isinstance(version, bool):
        raise ManifestInvalid(
            f"spin.toml has spin_manifest_version = {_shown(version)}; only version 2 can be read:"
            " write it anew in that format."
        )


def _triggers(table: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The one component that the HTTP triggers name, and their routes."""
    triggers = _table(table, "trigger", "spin.toml")
    others = sorted(kind for kind in triggers if kind != "http")
    if others:
        raise ManifestInvalid(f"spin.toml has a trigger of the kind '{others[0]}'; only http is run here.")
    entries = triggers.get("http")
    if not isinstance(entries, list) or not entries or not all(isinstance(one, dict) for one in entries):
        raise ManifestInvalid(
            'spin.toml has no HTTP trigger: write [[trigger.http]] with route = "/..." and component.'
        )
    routes, components = [], []
    for entry in entries:
        route, component = entry.get("route"), entry.get("component")
        if not isinstance(route, str) or not route.startswith("/"):
            raise ManifestInvalid(f'spin.toml: {_shown(route)} is no route of [[trigger.http]]: give one like "/...".')
        if not isinstance(component, str):
            raise ManifestInvalid(f"spin.toml: the trigger for '{route}' must name a component of [component.NAME].")
        routes.append(route)
        components.append(component)
    named = list(dict.fromkeys(components))
    if len(named) > 1:
        raise ManifestInvalid(
            f"spin.toml has triggers for {len(named)} components ({', '.join(named[:5])}); a function is one component:"
            " deploy each as a function of its own."
        )
    return named[0], tuple(dict.fromkeys(routes))


def _component(table: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    components = _table(table, "component", "spin.toml")
    if name not in components:
        there = ", ".join(f"'{one}'" for one in sorted(components)[:5])
        raise ManifestInvalid(
            f"spin.toml: the trigger names the component '{name}', which is not there"
            + (f"; there is {there}." if there else f": write [component.{name}].")
        )
    if not _KEBAB.fullmatch(name):
        raise ManifestInvalid(f"spin.toml: '{name}' is no name of a component: use words of a-z, 0-9 with - between.")
    return _table(components, name, "spin.toml")


def _source(component: Mapping[str, Any], name: str) -> str:
    source = component.get("source")
    where = f"[component.{name}]"
    if source is None:
        raise ManifestInvalid(f'spin.toml: {where} has no source: write source = "{DEFAULT_SOURCE}".')
    if not isinstance(source, str):
        raise ManifestInvalid(f"spin.toml: nothing is fetched for {where}: put the component beside it, and name it.")
    return inside(source, f"the source of {where}")


def inside(path: str, what: str) -> str:
    """A path relative to the root, without detours. Raises ManifestInvalid for one that leads out of it."""
    pure = PurePosixPath(path)
    if not path or "\\" in path or "\0" in path or pure.is_absolute() or ".." in pure.parts or not pure.parts:
        raise ManifestInvalid(f"spin.toml: '{path[:200]}', {what}, leads out of the source; name a file in it.")
    return str(pure)


def _hosts(component: Mapping[str, Any], where: str) -> tuple[str, ...]:
    if component.get("allowed_http_hosts"):
        raise ManifestInvalid(
            f"spin.toml: allowed_http_hosts in {where} is of older versions:"
            ' write allowed_outbound_hosts = ["https://example.com"].'
        )
    hosts = _list(component, "allowed_outbound_hosts", where)
    for host in hosts:
        if "://" not in host:
            raise ManifestInvalid(
                f"spin.toml: '{host[:200]}' in allowed_outbound_hosts of {where} has no scheme:"
                f" write https://{host[:200]}."
            )
    return hosts


def _variables(table: Mapping[str, Any]) -> dict[str, Variable]:
    found = {}
    for name, one in _table(table, "variables", "spin.toml").items():
        where = f"the variable '{name}'"
        if not _SNAKE.fullmatch(name):
            raise ManifestInvalid(f"spin.toml: '{name}' is no name of a variable: use a-z, 0-9 and _.")
        if not isinstance(one, dict):
            raise ManifestInvalid(f'spin.toml: {where} must be a table such as {{ default = "x" }}.')
        _known(one, _VARIABLE, where)
        default, required, secret = one.get("default"), one.get("required", False), one.get("secret", False)
        if (default is None) != (required is True) or not isinstance(secret, bool):
            raise ManifestInvalid(f"spin.toml: {where} needs either a default or required = true.")
        if default is not None and not isinstance(default, str):
            raise ManifestInvalid(f"spin.toml: the default of {where} must be a text.")
        found[name] = Variable(default, bool(required), secret)
    return found


def _mounts(component: Mapping[str, Any], where: str) -> tuple[Mount, ...]:
    files = component.get("files", [])
    if not isinstance(files, list):
        raise ManifestInvalid(f"spin.toml: files in {where} must be a list.")
    found = []
    for one in files:
        if isinstance(one, str):
            found.append(Mount(inside(one, f"one of the files of {where}")))
        elif isinstance(one, dict) and set(one) == {"source", "destination"} and isinstance(one["source"], str):
            destination = one["destination"]
            if not isinstance(destination, str) or ".." in PurePosixPath(destination).parts or not destination:
                raise ManifestInvalid(f"spin.toml: {_shown(destination)} is no destination for files of {where}.")
            found.append(Mount(inside(one["source"], f"one of the files of {where}"), destination))
        else:
            raise ManifestInvalid(
                f"spin.toml: files in {where} are patterns, or {{ source = ..., destination = ... }}."
            )
    return tuple(found)


def _known(table: Mapping[str, Any], known: frozenset[str], where: str) -> None:
    unknown = sorted(set(table) - known)
    if unknown:
        inner = "" if where == FILE else f" in {where}"
        raise ManifestInvalid(f"spin.toml has '{unknown[0]}'{inner}, which Spin does not know; look at its spelling.")


def _table(table: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    value = table.get(name, {})
    if not isinstance(value, dict):
        raise ManifestInvalid(f"spin.toml: '{name}' in {where} must be a table.")
    return value


def _text(table: Mapping[str, Any], name: str, where: str) -> str:
    value = table.get(name, "")
    if not isinstance(value, str):
        raise ManifestInvalid(f"spin.toml: {name} in {where} must be a text.")
    return value


def _list(table: Mapping[str, Any], name: str, where: str) -> tuple[str, ...]:
    value = table.get(name, [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ManifestInvalid(f"spin.toml: {name} in {where} must be a list of texts.")
    return tuple(value)


def _texts(table: Mapping[str, Any], name: str, where: str) -> dict[str, str]:
    value = _table(table, name, where)
    if not all(isinstance(one, str) for one in value.values()):
        raise ManifestInvalid(f"spin.toml: the values of {name} in {where} must be texts.")
    return dict(value)


def _shown(value: object) -> str:
    return json.dumps(value, default=str)[:80]


def python_module(app: SpinApp, names: Sequence[str]) -> str:
    """The Python file that the component is built from; empty where none is, so that `source` must be there.

    It is what the build command would componentize (`componentize-py ... componentize NAME`), or an app.py at the
    root where `source` is not in the source itself. `names` are the source's paths.
    """
    words = app.build_command.split()
    if "componentize" in words[:-1] and any("componentize-py" in word for word in words):
        named = words[words.index("componentize") + 1].replace(".", "/") + ".py"
        if named in names:
            return named
    return "app.py" if app.source not in names and "app.py" in names else ""
