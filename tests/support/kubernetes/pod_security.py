"""Pod Security admission: what a namespace labelled as baseline or restricted does not let in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

ENFORCE = "pod-security.kubernetes.io/enforce"
_ADDABLE = {"NET_BIND_SERVICE"}
_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"
}  # fmt: skip
_PROFILES = ("RuntimeDefault", "Localhost")


def violations(namespace: Json, spec: Json) -> str:
    """What a pod's spec violates, as the server says it after "violates "; empty if it may be there."""
    level = (namespace["metadata"].get("labels") or {}).get(ENFORCE, "privileged")
    found = list(_baseline(spec)) if level in ("baseline", "restricted") else []
    found += _restricted(spec) if level == "restricted" else []
    return f'PodSecurity "{level}:latest": {", ".join(found)}' if found else ""


def _baseline(spec: Json) -> Iterator[str]:
    names = [name for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    if names:
        yield f"host namespaces ({', '.join(f'{name}=true' for name in names)})"
    privileged = [one["name"] for one in _containers(spec) if _context(one).get("privileged")]
    if privileged:
        yield f"privileged ({_those(privileged)} must not set securityContext.privileged=true)"
    volumes = [volume["name"] for volume in spec.get("volumes") or [] if "hostPath" in volume]
    if volumes:
        yield f"hostPath volumes ({_those(volumes, 'volume')})"


def _restricted(spec: Json) -> Iterator[str]:
    containers = _containers(spec)
    pod = spec.get("securityContext") or {}
    escalating = [one["name"] for one in containers if _context(one).get("allowPrivilegeEscalation") is not False]
    if escalating:
        said = "must set securityContext.allowPrivilegeEscalation=false"
        yield f"allowPrivilegeEscalation != false ({_those(escalating)} {said})"
    capable = [one["name"] for one in containers if not _drops_all(one)]
    if capable:
        yield f'unrestricted capabilities ({_those(capable)} must set securityContext.capabilities.drop=["ALL"])'
    volumes = [volume["name"] for volume in spec.get("volumes") or [] if not _VOLUMES & set(volume)]
    if volumes:
        yield f"restricted volume types ({_those(volumes, 'volume')} uses restricted volume type)"
    rootly = [one["name"] for one in containers if not _context(one).get("runAsNonRoot", pod.get("runAsNonRoot"))]
    if rootly:
        said = "must set securityContext.runAsNonRoot=true"
        yield f"runAsNonRoot != true (pod or {_those(rootly)} {said})"
    if 0 in (pod.get("runAsUser"), *(_context(one).get("runAsUser") for one in containers)):
        yield "runAsUser=0 (pod or container must not set runAsUser=0)"
    default = (pod.get("seccompProfile") or {}).get("type")
    loose = [
        one["name"] for one in containers
        if (_context(one).get("seccompProfile") or {}).get("type", default) not in _PROFILES
    ]  # fmt: skip
    if loose:
        said = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
        yield f"seccompProfile (pod or {_those(loose)} {said})"


def _containers(spec: Json) -> list[Json]:
    return [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]


def _context(container: Json) -> Json:
    found: Json = container.get("securityContext") or {}
    return found


def _drops_all(container: Json) -> bool:
    capabilities = _context(container).get("capabilities") or {}
    return "ALL" in (capabilities.get("drop") or []) and set(capabilities.get("add") or []) <= _ADDABLE


def _those(names: list[str], kind: str = "container") -> str:
    quoted = ", ".join(f'"{name}"' for name in names)
    return f"{kind} {quoted}" if len(names) == 1 else f"{kind}s {quoted}"
