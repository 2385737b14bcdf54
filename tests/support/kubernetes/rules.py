"""What the server refuses (422) though the schema allows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.support.kubernetes import names, pod_rules
from tests.support.kubernetes.names import invalid_value, one_of, required, shown
from tests.support.kubernetes.selectors import selected
from tests.support.kubernetes.statuses import Cause

Json = dict[str, Any]

_SECRET_BYTES = 1024 * 1024


def broken(now: Json, before: Json | None) -> list[Cause]:
    """Every rule `now` breaks, as something new (`before` is None) or as a change of what there was."""
    metadata = now["metadata"]
    found = list(names.object_name(now["kind"], metadata["name"])) if before is None else []
    found += names.label_pairs("metadata.labels", metadata.get("labels") or {})
    found += names.annotation_keys("metadata.annotations", metadata.get("annotations") or {})
    rule = _BY_KIND.get(now["kind"])
    return [*found, *(rule(now, before) if rule else ())]


def _workload(now: Json, before: Json | None) -> Iterator[Cause]:
    spec = now["spec"]
    yield from _not_negative("spec.replicas", spec.get("replicas"))
    yield from _not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    yield from _not_negative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"))
    selector = spec["selector"]
    if before is not None and before["spec"]["selector"] != selector:
        yield invalid_value("spec.selector", shown(selector), "field is immutable")
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        yield invalid_value("spec.selector", shown(selector), f"empty selector is invalid for {now['kind'].lower()}")
    yield from names.label_pairs("spec.selector.matchLabels", selector.get("matchLabels") or {})
    labels = spec["template"]["metadata"].get("labels") or {}
    yield from names.label_pairs("spec.template.labels", labels)
    if not selected(selector, labels):
        yield invalid_value(
            "spec.template.metadata.labels", shown(labels), "`selector` does not match template `labels`"
        )  # fmt: skip
    if now["kind"] == "Deployment":
        yield from _strategy(spec)
    yield from one_of("spec.template.spec.restartPolicy", spec["template"]["spec"]["restartPolicy"], ("Always",))
    yield from pod_rules.broken("spec.template.spec", spec["template"]["spec"])


def _strategy(spec: Json) -> Iterator[Cause]:
    strategy = spec["strategy"]
    yield from one_of("spec.strategy.type", strategy["type"], ("Recreate", "RollingUpdate"))
    at = "spec.strategy.rollingUpdate"
    if strategy["type"] == "RollingUpdate":
        rolling = strategy["rollingUpdate"]
        for name in ("maxUnavailable", "maxSurge"):
            yield from _share(f"{at}.{name}", rolling[name])
        if _nothing(rolling["maxUnavailable"]) and _nothing(rolling["maxSurge"]):
            yield invalid_value(f"{at}.maxUnavailable", rolling["maxUnavailable"], "may not be 0 when `maxSurge` is 0")
    elif strategy.get("rollingUpdate"):
        yield Cause(at, "Forbidden: may not be specified when strategy `type` is 'Recreate'", "FieldValueForbidden")
    deadline = spec.get("progressDeadlineSeconds")
    yield from _not_negative("spec.progressDeadlineSeconds", deadline)
    if deadline is not None and deadline <= spec.get("minReadySeconds", 0):
        yield invalid_value("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")


def _nothing(share: str | int) -> bool:
    return share in (0, "0%", "0")


def _share(field: str, share: str | int) -> Iterator[Cause]:
    if isinstance(share, int):
        yield from _not_negative(field, share)
    elif not (share.endswith("%") and share[:-1].isdigit()):
        yield invalid_value(
            field, share, "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or "
            "'93%', regex used for validation is '[0-9]+%')",
        )  # fmt: skip


def _not_negative(field: str, value: int | None) -> Iterator[Cause]:
    if value is not None and value < 0:
        yield invalid_value(field, value, "must be greater than or equal to 0")


def _autoscaler(now: Json, before: Json | None) -> Iterator[Cause]:
    spec = now["spec"]
    least, most = spec["minReplicas"], spec["maxReplicas"]
    if least < 1:
        yield invalid_value("spec.minReplicas", least, "must be greater than or equal to 1")
    if most < 1:
        yield invalid_value("spec.maxReplicas", most, "must be greater than 0")
    if most < least:
        yield invalid_value("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`")


def _budget(now: Json, before: Json | None) -> Iterator[Cause]:
    spec = now["spec"]
    if "minAvailable" in spec and "maxUnavailable" in spec:
        yield invalid_value("spec", shown(spec), "minAvailable and maxUnavailable cannot be both set")
    for name in ("minAvailable", "maxUnavailable"):
        if name in spec:
            yield from _share(f"spec.{name}", spec[name])


def _service(now: Json, before: Json | None) -> Iterator[Cause]:
    spec = now["spec"]
    yield from one_of("spec.type", spec["type"], ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort"))
    ports = spec.get("ports") or []
    if not ports and spec["type"] != "ExternalName" and spec.get("clusterIP") != "None":
        yield required("spec.ports")
    for index, port in enumerate(ports):
        at = f"spec.ports[{index}]"
        if len(ports) > 1 and not port.get("name"):
            yield required(f"{at}.name")
        if port.get("name"):
            yield from names.label(f"{at}.name", port["name"])
        yield from one_of(f"{at}.protocol", port["protocol"], pod_rules.PROTOCOLS)
        yield from pod_rules.port(f"{at}.port", port["port"])
        if isinstance(port["targetPort"], int):
            yield from pod_rules.port(f"{at}.targetPort", port["targetPort"])
        else:
            yield from names.label(f"{at}.targetPort", port["targetPort"], 15)
    yield from names.label_pairs("spec.selector", spec.get("selector") or {})
    if before is not None and before["spec"].get("clusterIP") not in (None, spec.get("clusterIP")):
        said = "may not change once set"
        yield invalid_value("spec.clusterIPs[0]", spec.get("clusterIP") or "", said)


def _secret(now: Json, before: Json | None) -> Iterator[Cause]:
    data = now.get("data") or {}
    yield from names.config_keys(data)
    if sum(len(value) * 3 // 4 for value in data.values()) > _SECRET_BYTES:
        yield Cause("data", "Too long: may not be more than 1048576 bytes", "FieldValueTooLong")
    if before is not None and before.get("type") != now.get("type"):
        yield invalid_value("type", now.get("type"), "field is immutable")
    if before is not None and before.get("immutable") and before.get("data") != data:
        said = "Forbidden: field is immutable when `immutable` is set"
        yield Cause("data", said, "FieldValueForbidden")


def _pod(now: Json, before: Json | None) -> Iterator[Cause]:
    yield from pod_rules.broken("spec", now["spec"])
    if before is not None and _fixed(before) != _fixed(now):
        said = "Forbidden: pod updates may not change fields other than `spec.containers[*].image`"
        yield Cause("spec", said, "FieldValueForbidden")


def _fixed(pod: Json) -> Json:
    spec = {key: value for key, value in pod["spec"].items() if key not in ("nodeName", "tolerations")}
    spec["containers"] = [{**one, "image": ""} for one in spec["containers"]]
    return spec


_BY_KIND = {
    "Deployment": _workload, "ReplicaSet": _workload, "HorizontalPodAutoscaler": _autoscaler,
    "PodDisruptionBudget": _budget, "Service": _service, "Secret": _secret, "Pod": _pod,
}  # fmt: skip
