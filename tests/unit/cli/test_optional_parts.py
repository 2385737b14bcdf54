"""What `fnmesh doctor` says of the parts that a mesh can do without."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from cli.commands.doctor import Finding
from cli.optional_parts import look_at_parts

_NOWHERE = "tcp://127.0.0.1:1"  # nothing listens on port 1


def _found(environ: Mapping[str, str]) -> dict[str, Finding]:
    return {one.what: one for one in look_at_parts(environ)}


def test_what_is_not_there_comes_with_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    found = _found({"DOCKER_HOST": _NOWHERE})

    missing = {name: one.get for name, one in found.items() if one.state == "no"}
    assert set(missing) >= {"node", "npm", "docker", "postgresql", "collector"}
    assert all(missing.values())
    assert found["docker"].detail.startswith(f"no daemon answers at {_NOWHERE}; ")


def test_a_cluster_is_looked_for_where_the_mesh_looks(tmp_path: Path) -> None:
    good, empty, broken = (tmp_path / name for name in ("good", "empty", "broken"))
    good.write_text("apiVersion: v1\nkind: Config\ncurrent-context: here\n")
    empty.write_text("apiVersion: v1\nkind: Config\n")
    broken.write_text("{")

    def cluster(**environ: str) -> dict[str, Finding]:
        found = _found({"DOCKER_HOST": _NOWHERE, **environ})
        return {name: one for name, one in found.items() if name in ("kubernetes", "cluster images")}

    none = cluster()
    assert set(none) == {"kubernetes"} and none["kubernetes"].state == "no"
    assert "FNMESH_DEPLOY_KUBECONFIG" in none["kubernetes"].get
    both = {"FNMESH_DEPLOY_KUBECONFIG": str(good), "FNMESH_BUILD_CLUSTER_REPOSITORY": "registry.example.org/fnmesh"}
    assert cluster(**both) == {
        "kubernetes": Finding("kubernetes", "ok", f"{good}, context here"),
        "cluster images": Finding("cluster images", "ok", "registry.example.org/fnmesh"),
    }
    several = cluster(KUBECONFIG=f"{empty}:{good}")
    assert several["kubernetes"].detail == f"{good}, context here"
    assert several["cluster images"].state == "no" and several["cluster images"].get
    assert cluster(KUBECONFIG=str(empty))["kubernetes"].state == "no"
    assert cluster(KUBERNETES_SERVICE_HOST="10.0.0.1")["kubernetes"].state == "ok"
    for wrong in (broken, tmp_path / "missing"):
        failed = cluster(KUBECONFIG=str(wrong))["kubernetes"]
        assert failed.state == "failed" and str(wrong) in failed.detail


def test_a_host_of_spin_components_is_looked_for_where_the_mesh_looks(tmp_path: Path) -> None:
    host = tmp_path / "wasmtime"
    host.write_text("#!/bin/sh\necho wasmtime 1.2.3\n")
    host.chmod(0o755)

    found = _found({"DOCKER_HOST": _NOWHERE, "FNMESH_WORKLOAD_SPIN_HOST": str(host)})["spin"]
    missing = _found({"DOCKER_HOST": _NOWHERE, "FNMESH_WORKLOAD_SPIN_HOST": "/nowhere/spin"})["spin"]

    assert found == Finding("spin", "ok", "wasmtime 1.2.3")
    assert missing.state == "no" and "/nowhere/spin" in missing.detail and "make setup-spin" in missing.get


def test_a_program_that_fails_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = tmp_path / "node"
    node.write_text("#!/bin/sh\necho v99; exit 1\n")
    node.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")

    assert _found({"DOCKER_HOST": _NOWHERE})["node"].state == "no"


def test_a_database_that_cannot_be_used_has_failed_and_no_password_is_shown() -> None:
    url = "postgresql://mesh:hush-hush@127.0.0.1:1/fnmesh"

    found = _found({"DOCKER_HOST": _NOWHERE, "FNMESH_DATABASE_URL": url})

    assert found["postgresql"].state == "failed"
    assert found["postgresql"].detail.startswith("cannot be used at 127.0.0.1: ")
    assert "hush-hush" not in str(found)


def test_a_collector_is_named_without_its_credentials() -> None:
    found = _found({"DOCKER_HOST": _NOWHERE, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://me:hush-hush@collector:4317"})

    assert found["collector"] == Finding("collector", "ok", "spans go to collector:4317")
