"""`fnmesh doctor`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from cli.errors import CommandError
from cli.options import DataDir, Json, Server
from cli.output import print_facts, print_json, print_table


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    state: ok; no (something optional is not there); failed.
    get: how to get it, where it is not there and can be had.
    """

    what: str
    state: str
    detail: str
    get: str = ""


def doctor(server: Server = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Look at the mesh and at this machine, and say what is missing and how to get it; exit 1 where something failed.

    **Example**: `fnmesh doctor`
    """
    from cli.machine import look_at_machine

    findings = [*look_at_machine(data_dir, os.environ), *_look_at_mesh(server)]
    if as_json:
        print_json({"findings": [asdict(one) for one in findings]})
    else:
        print_table(("CHECK", "STATE", ""), ((one.what, one.state, one.detail) for one in findings))
        if any(one.get for one in findings):
            print("\nHow to get what is not there:")
            print_facts((one.what, one.get) for one in findings)
    failed = [one.what for one in findings if one.state == "failed"]
    if failed:
        raise CommandError(f"Look after {', '.join(failed)}.")


_SERVICES = {
    "registry": "fnmesh.registry.v1.RegistryService",
    "build": "fnmesh.build.v1.BuildService",
    "deploy": "fnmesh.deploy.v1.DeployService",
    "invoke": "fnmesh.invoke.v1.InvokeService",
    "gateway": "fnmesh.trace.v1.TraceService",
}


def _look_at_mesh(server: str | None) -> Iterator[Finding]:
    from cli.calling import explain
    from fnmesh.client import FnmeshError, Mesh, Unreachable
    from fnmesh.registry.v1 import function_pb2

    try:
        with Mesh(server, timeout_s=5.0) as mesh:
            for name, service in _SERVICES.items():
                well = mesh.health(service)
                yield Finding(f"mesh: {name}", "ok" if well else "failed", "serves" if well else "does not serve")
            targets = mesh.targets()
            for one in targets.targets:
                word = function_pb2.Target.Name(one.target).removeprefix("TARGET_").lower()
                default = "; the default" if one.target == targets.default_target else ""
                contexts = f"; contexts: {', '.join(one.contexts)}" if one.contexts else ""
                told = one.message.rstrip(".") + contexts + default
                yield Finding(f"target: {word}", "ok" if one.available else "no", told)
    except Unreachable as error:
        yield Finding("mesh", "failed", explain(error))
    except FnmeshError as error:
        yield Finding("mesh: calls", "failed", explain(error))
