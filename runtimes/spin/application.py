"""A Spin application of one component: its settings, as spin.toml has them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

MANIFEST_VERSION = 2
DEFAULT_SOURCE = "app.wasm"
ANY_ROUTE = "/..."


@dataclass(frozen=True)
class Variable:
    """A variable of the application. `default` is None where a value has to be given (`required`)."""

    default: str | None = None
    required: bool = False
    secret: bool = False


@dataclass(frozen=True)
class Mount:
    """Files that the component sees: a pattern (`destination` empty) relative to the root, or a directory and
    where in the component it is."""

    source: str
    destination: str = ""


@dataclass(frozen=True)
class SpinApp:
    """An application of one HTTP component.

    `source` is where the component is or will be, relative to the root, with slashes. `variables` are the
    application's, `component_variables` the component's: name -> template such as `{{ api_host }}`.
    `build_command` is for being read, never for being run.
    """

    name: str
    component: str
    source: str = DEFAULT_SOURCE
    version: str = "0.1.0"
    description: str = ""
    routes: tuple[str, ...] = (ANY_ROUTE,)
    allowed_outbound_hosts: tuple[str, ...] = ()
    variables: Mapping[str, Variable] = field(default_factory=dict)
    component_variables: Mapping[str, str] = field(default_factory=dict)
    files: tuple[Mount, ...] = ()
    exclude_files: tuple[str, ...] = ()
    key_value_stores: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    build_command: str = ""

    def as_json(self) -> dict[str, Any]:
        """The same as plain values for JSON; `from_json` reads it."""
        return asdict(self)


def from_json(value: Mapping[str, Any]) -> SpinApp:
    """What `SpinApp.as_json` gave, also after a way through JSON."""
    lists = ("routes", "allowed_outbound_hosts", "exclude_files", "key_value_stores")
    read = dict(value) | {name: tuple(value[name]) for name in lists if name in value}
    read["variables"] = {name: Variable(**one) for name, one in value.get("variables", {}).items()}
    read["files"] = tuple(Mount(**one) for one in value.get("files", ()))
    return SpinApp(**read)


def of_single_file(stem: str) -> SpinApp:
    """The application that a single source file `<stem>.py` is: named like it, on every path, allowed nothing."""
    words = re.findall(r"[a-z][a-z0-9]*", re.sub(r"[^a-z0-9]+", "-", stem.lower()))
    name = "-".join(words) or "app"
    return SpinApp(name=name, component=name)


def write(app: SpinApp) -> str:
    """A spin.toml that `manifest.parse` reads as `app`; the build command is left out."""
    lines = [f"spin_manifest_version = {MANIFEST_VERSION}", "", "[application]", f"name = {_toml(app.name)}"]
    lines.append(f"version = {_toml(app.version)}")
    if app.description:
        lines.append(f"description = {_toml(app.description)}")
    if app.variables:
        lines += ["", "[variables]"]
        lines += [f"{name} = {_variable_toml(one)}" for name, one in app.variables.items()]
    for route in app.routes:
        lines += ["", "[[trigger.http]]", f"route = {_toml(route)}", f"component = {_toml(app.component)}"]
    lines += ["", f"[component.{app.component}]", f"source = {_toml(app.source)}"]
    for name in ("allowed_outbound_hosts", "key_value_stores", "exclude_files"):
        values = getattr(app, name)
        if values or name == "allowed_outbound_hosts":
            lines.append(f"{name} = [{', '.join(_toml(value) for value in values)}]")
    if app.files:
        lines.append(f"files = [{', '.join(_mount_toml(one) for one in app.files)}]")
    for table, pairs in (("environment", app.environment), ("variables", app.component_variables)):
        if pairs:
            lines += ["", f"[component.{app.component}.{table}]"]
            lines += [f"{_toml(name)} = {_toml(value)}" for name, value in pairs.items()]
    return "\n".join([*lines, ""])


def _toml(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # else TOML's basic strings are JSON's


def _variable_toml(one: Variable) -> str:
    parts = ["required = true" if one.default is None else f"default = {_toml(one.default)}"]
    if one.secret:
        parts.append("secret = true")
    return f"{{ {', '.join(parts)} }}"


def _mount_toml(one: Mount) -> str:
    if not one.destination:
        return _toml(one.source)
    return f"{{ source = {_toml(one.source)}, destination = {_toml(one.destination)} }}"
