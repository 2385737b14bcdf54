"""What a component is started with: read of its artifact, and of the revision's variables and secrets. Nothing here
does more I/O than reading artifact.json.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy_svc.domain import Workload
from mesh.errors import FailedPrecondition
from runtimes.spin.application import SpinApp, from_json
from runtimes.spin.host import ALLOWED_HOSTS, COMPILE_FLAGS, ENV_PREFIX, VARIABLE_PREFIX, Host, provider_digest

REUSE = "SPIN_INSTANCE_REUSE"
"""A variable of the function: how many requests one instance of the component answers, where not 1."""
DEFAULT_STORE = "default"
_TEMPLATE = re.compile(r"\{\{\s*([^}\s]*)\s*\}\}")
_STORE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HOST = re.compile(r"(?P<scheme>\*|[a-z][a-z0-9+.-]*)://(?P<host>\*|\[[0-9a-f:.]+\]|(?:\*\.)?[^\s/:*|;@\[\]]+)"
                   r"(?::(?P<port>\*|\{?\d+(?:\.\.\d+)?\}?))?/?")  # fmt: skip
_WELL_KNOWN = {"http": 80, "https": 443}
_PORTS = 65535
_MOST_REUSE = 1_000_000


@dataclass(frozen=True, slots=True)
class Application:
    """A component as its artifact describes it; `made_for` is what its compiled code, if any, was made for."""

    app: SpinApp
    wasm_digest: str
    made_for: tuple[str, str, tuple[str, ...], str]
    cwasm_sha256: str

    def compiled_for(self, host: Host) -> bool:
        """Whether the artifact brings code that was compiled for that host and the provider there is now."""
        wanted = (host.kind, host.version, tuple(COMPILE_FLAGS), provider_digest())
        return bool(self.cwasm_sha256) and self.made_for == wanted


def read_application(tree: Path) -> Application:
    """The application of an unpacked artifact. Raises FailedPrecondition (ARTIFACT_BROKEN)."""
    try:
        facts = json.loads((tree / "artifact.json").read_bytes())
        made_for = (facts["host"], facts["host_version"], tuple(facts["flags"]), facts["provider_digest"])
        return Application(from_json(facts["app"]), facts["wasm_digest"], made_for, facts["cwasm_sha256"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise FailedPrecondition(
            "ARTIFACT_BROKEN", "The artifact does not say which component it is: deploy the function again."
        ) from error


def variables(app: SpinApp, given: Mapping[str, str]) -> dict[str, str]:
    """The component's variables, by names in lower case: the function's own, and those that spin.toml makes of them.

    Raises FailedPrecondition (VARIABLE_MISSING) for one that spin.toml wants and nobody gave.
    """
    found = {name.lower(): value for name, value in given.items() if name != REUSE}
    values = {name: one.default for name, one in app.variables.items() if one.default is not None} | found
    for name in app.variables:
        if name not in values:
            raise _missing(name)
    return found | {name: _filled(text, values) for name, text in app.component_variables.items()}


def _filled(text: str, values: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise _missing(match[1])
        return values[match[1]]

    return _TEMPLATE.sub(value, text)


def _missing(name: str) -> FailedPrecondition:
    return FailedPrecondition(
        "VARIABLE_MISSING",
        f"spin.toml wants a value for the variable '{name}': set {name.upper()} in the function's env or secrets.",
        variable=name,
    )


def allowed_hosts(app: SpinApp, values: Mapping[str, str]) -> str:
    """`allowed_outbound_hosts` as the provider reads them; what is not for HTTP, or cannot be read, allows nothing."""
    return "".join(rule for text in app.allowed_outbound_hosts for rule in _rules(_filled(text, values).lower()))


def _rules(text: str) -> Iterator[str]:
    found = _HOST.fullmatch(text)
    if found is None or found["scheme"] not in ("*", *_WELL_KNOWN):
        return
    port = (found["port"] or str(_WELL_KNOWN.get(found["scheme"], ""))).strip("{}")
    low, _, high = port.partition("..")
    first, last = (0, _PORTS) if port == "*" else (int(low or -1), int(high or low or -1))
    if 0 <= first <= last <= _PORTS:
        yield f"{found['scheme']}|{found['host']}|{first}|{last};"


def stores(app: SpinApp) -> list[str]:
    """The key-value stores that the component may open."""
    return [name for name in dict.fromkeys([DEFAULT_STORE, *app.key_value_stores]) if _STORE.fullmatch(name)]


def environment(app: SpinApp, workload: Workload) -> dict[str, str]:
    """All that the host program is started with. No name in it means anything to the program itself."""
    values = variables(app, workload.env)
    named = {f"{VARIABLE_PREFIX}{name.upper()}": value for name, value in values.items() if _NAME.fullmatch(name)}
    shown = {f"{ENV_PREFIX}{name}": value for name, value in app.environment.items() if _NAME.fullmatch(name)}
    defaults = {name: one.default for name, one in app.variables.items() if one.default is not None}
    hosts = allowed_hosts(app, defaults | values)
    return {**named, **shown, **({ALLOWED_HOSTS: hosts} if hosts else {})}


def requests_per_instance(workload: Workload) -> int:
    """How many requests one instance of the component answers: 1, unless the function says otherwise.

    Raises FailedPrecondition (REUSE_INVALID).
    """
    told = workload.env.get(REUSE, "1").strip()
    if not told.isdecimal() or not 1 <= int(told[:9]) <= _MOST_REUSE:
        raise FailedPrecondition("REUSE_INVALID", f"{REUSE} is a number of requests from 1 to {_MOST_REUSE:,}.")
    return int(told)
