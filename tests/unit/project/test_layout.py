"""Who may import whom: the parts of the mesh know each other by their stubs only."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.project.sources import ROOT, imported_by, modules_in

_SERVICES = ("registry_svc", "build_svc", "deploy_svc", "invoke_svc", "gateway")
_PARTS = ("mesh", *_SERVICES, "runtimes", "cli", "tests", "benchmarks", "examples")
_STUBS = "fnmesh"
_CLIENT = "fnmesh.client"

# What each folder may import of this project, besides itself.
_MAY_IMPORT: dict[str, set[str]] = {
    "mesh": {_STUBS},
    "registry_svc": {"mesh", _STUBS},
    "build_svc": {"mesh", "runtimes", _STUBS},
    "deploy_svc": {"mesh", "runtimes", _STUBS},
    "invoke_svc": {"mesh", _STUBS},
    "gateway": {"mesh", _STUBS},
    "runtimes": set(),
    "client/fnmesh/client": {_STUBS, _CLIENT},
    "cli": {_STUBS, _CLIENT},
}
_DOMAIN_IS_FREE_OF = ("grpc", "sqlalchemy", "alembic", "google.protobuf", "google.rpc", "docker", _STUBS)


@pytest.mark.parametrize("folder", sorted(_MAY_IMPORT))
def test_a_part_imports_only_what_it_may(folder: str) -> None:
    allowed = _MAY_IMPORT[folder] | {folder}
    wrong = [
        f"{_at(module, line)} imports {name}"
        for module in modules_in(folder)
        for name, line in imported_by(module).items()
        if (part := _part_of(name)) is not None and part not in allowed
    ]
    assert wrong == []


@pytest.mark.parametrize("service", _SERVICES)
def test_a_domain_knows_neither_wire_nor_storage(service: str) -> None:
    wrong = [
        f"{_at(module, line)} imports {name}"
        for module in modules_in(service)
        if module.name == "domain.py"
        for name, line in imported_by(module).items()
        if _is_within(name, _DOMAIN_IS_FREE_OF)
    ]
    assert wrong == []


def test_fnmesh_is_a_namespace_that_stubs_and_client_share() -> None:
    assert not (ROOT / "client/fnmesh/__init__.py").exists()
    assert list((ROOT / "protos").rglob("__init__.py")) == []


def _part_of(name: str) -> str | None:
    """The part of this project that a module name belongs to; None for the rest of the world."""
    if _is_within(name, (_CLIENT,)):
        return _CLIENT
    top = name.partition(".")[0]
    return top if top in (*_PARTS, _STUBS) else None


def _is_within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def _at(module: Path, line: int) -> str:
    return f"{module.relative_to(ROOT)}:{line}"
