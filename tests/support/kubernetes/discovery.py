"""What clients learn about a cluster before they speak of objects: its version, groups, and kinds."""

from __future__ import annotations

from typing import Any

from tests.support.kubernetes.resources import POD_METRICS, Catalog, Resource

_STATUS_VERBS = ["get", "patch", "update"]


def version(kubernetes_version: str) -> dict[str, Any]:
    """`/version`, of a `major.minor.patch`."""
    major, minor, *_ = kubernetes_version.split(".")
    return {
        "major": major, "minor": minor, "gitVersion": f"v{kubernetes_version}", "gitCommit": "0" * 40,
        "gitTreeState": "clean", "buildDate": "2026-01-01T00:00:00Z", "goVersion": "go1.25", "compiler": "gc",
        "platform": "linux/amd64",
    }  # fmt: skip


def core_versions(address: str) -> dict[str, Any]:
    """`/api`."""
    return {
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }  # fmt: skip


def groups(catalog: Catalog) -> dict[str, Any]:
    """`/apis`."""
    return {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [_group(name, found) for name, found in _by_group(catalog)],
    }


def group(catalog: Catalog, name: str) -> dict[str, Any] | None:
    """`/apis/<name>`; None for a group nobody serves."""
    for found_name, versions in _by_group(catalog):
        if found_name == name:
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)}
    return None


def resources(catalog: Catalog, group_name: str, version_name: str) -> dict[str, Any] | None:
    """`/api/v1` and `/apis/<group>/<version>`; None for one nobody serves."""
    found = [one for one in catalog.all() if (one.group, one.version) == (group_name, version_name)]
    if not found:
        return None
    listed = [entry for resource in found for entry in _entries(resource)]
    group_version = f"{group_name}/{version_name}" if group_name else version_name
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": listed}


def _by_group(catalog: Catalog) -> list[tuple[str, list[str]]]:
    found: dict[str, list[str]] = {}
    for resource in catalog.all():
        if resource.group:
            versions = found.setdefault(resource.group, [])
            if resource.version not in versions:
                versions.append(resource.version)
    return list(found.items())


def _group(name: str, versions: list[str]) -> dict[str, Any]:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _entries(resource: Resource) -> list[dict[str, Any]]:
    singular = "" if resource is POD_METRICS else resource.kind.lower()
    entries: list[dict[str, Any]] = [{
        "name": resource.plural, "singularName": singular, "namespaced": resource.namespaced, "kind": resource.kind,
        "verbs": list(resource.verbs), **({"shortNames": list(resource.short_names)} if resource.short_names else {}),
    }]  # fmt: skip
    for subresource in resource.subresources:
        entry: dict[str, Any] = {
            "name": f"{resource.plural}/{subresource}", "singularName": "", "namespaced": resource.namespaced,
            "kind": resource.kind, "verbs": _STATUS_VERBS,
        }  # fmt: skip
        if subresource == "scale":
            entry |= {"group": "autoscaling", "version": "v1", "kind": "Scale"}
        if subresource == "log":
            entry["verbs"] = ["get"]
        entries.append(entry)
    return entries
