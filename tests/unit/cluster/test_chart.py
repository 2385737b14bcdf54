"""deploy/chart: what it renders is what is kept, and what Kubernetes and the services take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from build_svc.settings import BuildSettings
from deploy_svc.settings import DeploySettings
from gateway.settings import GatewaySettings
from invoke_svc.settings import InvokeSettings
from mesh.settings import MeshSettings
from registry_svc.settings import RegistrySettings
from tests.support.chart_golden import GOLDEN, rendered
from tests.support.helm import CHART, ROOT, helm, objects, render

_VERSIONS = ("1.30", "1.36")
_SETTINGS: dict[str, type[MeshSettings]] = {
    "registry_svc": RegistrySettings,
    "build_svc": BuildSettings,
    "deploy_svc": DeploySettings,
    "invoke_svc": InvokeSettings,
    "gateway": GatewaySettings,
}
_PLAIN, _ALL = GOLDEN
_KEPT = [pytest.param(path, id=path.stem) for path in GOLDEN]


@pytest.mark.helm
@pytest.mark.parametrize("path", _KEPT)
def test_what_is_rendered_is_what_is_kept(path: Path) -> None:
    assert rendered(GOLDEN[path]) == path.read_text(), "run make manifests"


@pytest.mark.helm
@pytest.mark.parametrize("path", _KEPT)
def test_helm_finds_nothing_to_complain_of(path: Path) -> None:
    done = helm("lint", "--strict", str(CHART), "--values", str(GOLDEN[path]))

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.helm
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("mesh.id=Not_One", "/mesh/id"),
        ("blobs.url=/var/lib/blobs", "/blobs/url"),
        ("functions.namespaces=null", "functions"),
        ("tracing.share=2", "/tracing/share"),
        ("functions.namespaces={a.b}", "/functions/namespaces/0"),
        ("build.diskSize=10K", "/build/diskSize"),
        ("deploy.autoscaling.enabled=true,deploy.autoscaling.min=5", "deploy.autoscaling.min"),
        ("envoy.service.type=ExternalName", "/envoy/service/type"),
        ("registry.replica=3", "replica"),
        ("invoke.env.FNMESH_INVOKE_QUEUE_LIMIT=2000000", "/invoke/env/FNMESH_INVOKE_QUEUE_LIMIT"),
    ],
)
def test_values_that_make_no_sense_are_refused_by_name(change: str, named: str) -> None:
    with pytest.raises(AssertionError, match=named):
        render(GOLDEN[_PLAIN], change)


@pytest.mark.helm
def test_names_that_look_like_numbers_are_names_and_nothing_has_to_be_labelled(tmp_path: Path) -> None:
    """An unquoted 123 would be a number in the manifests, which Kubernetes refuses."""
    values = yaml.safe_load(GOLDEN[_ALL].read_text())
    values["secretName"] = values["blobs"]["secretName"] = values["registryForFunctions"]["secretName"] = "1"
    values["images"]["pullSecrets"] = values["functions"]["namespaces"] = ["123"]
    values["envoy"]["tlsSecretName"] = values["deploy"]["kubeconfigSecretName"] = "123"
    values["build"]["diskSize"] = "50000000000"
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))

    found = objects(render(tmp_path / "values.yaml", "grafana.labels=null"))

    assert {one["metadata"]["namespace"] for one in found if one["kind"] == "Role"} == {"123"}
    for one in found:
        kubernetes_validate.validate(one, _VERSIONS[0], strict=True)


@pytest.mark.helm
def test_what_is_switched_off_is_not_there() -> None:
    off = ("networkPolicies.enabled=false", "functions.isolated=false", "migrations.enabled=false")
    kinds = {one["kind"] for one in objects(render(GOLDEN[_PLAIN], *off))}

    assert kinds.isdisjoint({"NetworkPolicy", "Job", "HorizontalPodAutoscaler", "ConfigMap"})


@pytest.mark.helm
@pytest.mark.parametrize("of_the_mesh", [True, False])
@pytest.mark.parametrize("of_functions", [True, False])
def test_who_reaches_functions_and_who_reaches_the_mesh_are_switched_apart(
    of_the_mesh: bool, of_functions: bool
) -> None:
    changes = (f"networkPolicies.enabled={str(of_the_mesh).lower()}", f"functions.isolated={str(of_functions).lower()}")
    found = [one for one in objects(render(GOLDEN[_PLAIN], *changes)) if one["kind"] == "NetworkPolicy"]
    named = {one["metadata"]["name"] for one in found}

    assert named == ({f"fnmesh-{part}" for part in ("envoy", *_parts())} if of_the_mesh else set()) | (
        {"fnmesh-fnmesh-functions"} if of_functions else set()
    )


@pytest.mark.parametrize("version", _VERSIONS)
@pytest.mark.parametrize("path", _KEPT)
def test_the_manifests_follow_the_published_schemas(path: Path, version: str) -> None:
    for one in objects(path.read_text()):
        kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize("path", _KEPT)
def test_every_container_is_told_settings_that_its_program_takes(path: Path, tmp_path: Path) -> None:
    seen = set()
    for container in _containers(path):
        program = container.get("command", ["", "", "envoy"])[2]
        if program not in _SETTINGS:
            continue
        environ = _environment(container)
        settings = _SETTINGS[program].load(environ)
        seen.add(program)
        assert "bootstrap" in container["command"] or settings.own_address.startswith("0.0.0.0:")
        if isinstance(settings, GatewaySettings):
            token = tmp_path / "token"
            token.write_text("t" * 40)
            spec = settings.model_copy(update={"token_file": token}).envoy_spec(environ)
            assert spec.stats == ("0.0.0.0", 9901)
    assert seen == set(_SETTINGS)


@pytest.mark.parametrize("path", _KEPT)
def test_no_code_of_others_runs_as_the_user_of_a_service(path: Path) -> None:
    told = {one["name"]: _environment(one) for one in _containers(path)}

    assert BuildSettings.load(told["build"]).build_process_target is False
    assert DeploySettings.load(told["deploy"]).local_targets == frozenset()


@pytest.mark.parametrize("path", _KEPT)
def test_whoever_opens_the_object_store_is_told_the_same_of_it(path: Path) -> None:
    """The gateway names places in it and opens none."""
    values = yaml.safe_load(GOLDEN[path].read_text())["blobs"]
    containers = {one["name"]: one for one in _containers(path)}
    urls = {name: _environment(one).get("FNMESH_BLOB_URL") for name, one in containers.items()}
    settings = {
        name: {one: value for one, value in _environment(containers[name]).items() if one in values["env"]}
        for name in containers
    }
    credentials = {name: one.get("envFrom") for name, one in containers.items()}

    opening = {"build", "deploy", "invoke"}
    assert {name for name, url in urls.items() if url} == opening | {"gateway"}
    assert {url for url in urls.values() if url} == {values["url"]}
    assert {name for name, told in settings.items() if told == values["env"]} == opening
    assert {name for name, told in credentials.items() if told} == opening
    assert all(credentials[name] == [{"secretRef": {"name": values["secretName"]}}] for name in opening)


@pytest.mark.parametrize("path", _KEPT)
def test_the_gateway_and_who_writes_the_bootstrap_describe_the_same_envoy(path: Path) -> None:
    made = []
    for container in _containers(path):
        if "gateway" in container.get("command", []):
            environ = _environment(container)
            made.append({name: value for name, value in environ.items() if name.startswith("FNMESH_GATEWAY_")})
    bootstrap, gateway = sorted(made, key=len)

    own = {"FNMESH_GATEWAY_REST_LISTEN", "FNMESH_GATEWAY_PROMETHEUS_URL", "FNMESH_GATEWAY_CLUSTER_ALIASES"}
    assert {name: value for name, value in gateway.items() if name not in own} == bootstrap


@pytest.mark.parametrize("path", _KEPT)
def test_every_pod_is_restricted(path: Path) -> None:
    """The level `restricted` of Kubernetes' pod security standards, and a root file system that is read only."""
    for spec in _pods(path):
        context = spec["securityContext"]
        assert context["runAsNonRoot"] and context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["enableServiceLinks"] is False  # FNMESH_REGISTRY_PORT and the like would be no settings
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert all(set(volume) & {"emptyDir", "secret"} for volume in spec["volumes"])
        for container in [*spec["containers"], *spec.get("initContainers", ())]:
            own = container["securityContext"]
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert own["allowPrivilegeEscalation"] is False and own["readOnlyRootFilesystem"] is True
            assert container["resources"]["limits"]["memory"] and container["resources"]["requests"]["cpu"]


@pytest.mark.parametrize("path", _KEPT)
def test_every_long_lived_container_is_probed_and_every_part_may_lose_one_pod(path: Path) -> None:
    found = objects(path.read_text())
    budgets = {one["metadata"]["name"]: one["spec"] for one in found if one["kind"] == "PodDisruptionBudget"}
    deployments = {one["metadata"]["name"]: one["spec"] for one in found if one["kind"] == "Deployment"}

    assert set(budgets) == set(deployments) == {f"fnmesh-{part}" for part in ("envoy", *_parts())}
    for name, spec in deployments.items():
        (container,) = spec["template"]["spec"]["containers"]
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
        assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
        assert budgets[name]["maxUnavailable"] == 1
        assert budgets[name]["selector"] == spec["selector"]


@pytest.mark.parametrize("path", _KEPT)
def test_ports_and_selectors_fit_each_other(path: Path) -> None:
    found = objects(path.read_text())
    pods = [one["spec"]["template"] for one in found if one["kind"] == "Deployment"]
    services = [one for one in found if one["kind"] == "Service"]
    policies = [
        one for one in found if one["kind"] == "NetworkPolicy" and "component" in str(one["spec"]["podSelector"])
    ]

    assert len(services) == len(policies) == len(pods) == 6
    for one in services:
        (pod,) = _selected(pods, one["spec"]["selector"])
        assert {port["targetPort"] for port in one["spec"]["ports"]} <= _ports(pod)
    for one in policies:
        (pod,) = _selected(pods, one["spec"]["podSelector"]["matchLabels"])
        assert {port["port"] for rule in one["spec"]["ingress"] for port in rule["ports"]} == _ports(pod)


@pytest.mark.parametrize("path", _KEPT)
def test_only_deploy_svc_may_ask_the_api_server(path: Path) -> None:
    found = objects(path.read_text())
    with_token = {
        one["metadata"]["name"]
        for one in found
        if one["kind"] == "Deployment" and one["spec"]["template"]["spec"]["automountServiceAccountToken"]
    }
    bound = {
        subject["name"]
        for one in found
        if one["kind"] in ("RoleBinding", "ClusterRoleBinding")
        for subject in one["subjects"]
    }

    assert with_token == bound == {"fnmesh-deploy"}


def test_the_manifests_hold_no_secret() -> None:
    for path in GOLDEN:
        assert "Secret" not in {one["kind"] for one in objects(path.read_text())}


def test_versions_are_the_projects() -> None:
    import tomllib

    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images = yaml.safe_load(GOLDEN[_PLAIN].read_text())["images"]

    assert chart["version"] == chart["appVersion"] == version
    assert images["services"].endswith(f":{version}") and images["envoy"].endswith(f":{version}")


def _parts() -> Iterator[str]:
    return (program.removesuffix("_svc") for program in _SETTINGS)


def _pods(path: Path) -> Iterator[dict[str, Any]]:
    for one in objects(path.read_text()):
        if one["kind"] in ("Deployment", "Job"):
            yield one["spec"]["template"]["spec"]


def _containers(path: Path) -> Iterator[dict[str, Any]]:
    for spec in _pods(path):
        yield from spec["containers"]
        yield from spec.get("initContainers", ())


def _environment(container: dict[str, Any]) -> dict[str, str]:
    references = {"FNMESH_DATABASE_URL": "postgresql://mesh:secret@db/fnmesh", "POD_IP": "10.0.0.7"}
    environ = {one["name"]: one.get("value") or references[one["name"]] for one in container.get("env", ())}
    return {name: value.replace("$(POD_IP)", "10.0.0.7") for name, value in environ.items()}


def _selected(pods: list[dict[str, Any]], selector: dict[str, str]) -> list[dict[str, Any]]:
    return [pod for pod in pods if selector.items() <= pod["metadata"]["labels"].items()]


def _ports(pod: dict[str, Any]) -> set[str]:
    return {port["name"] for container in pod["spec"]["containers"] for port in container["ports"]}
