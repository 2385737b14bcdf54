"""deploy/compose.yaml: every service is told settings that its program takes, and no more than it needs."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from build_svc.settings import BuildSettings
from deploy_svc.settings import DeploySettings
from gateway.settings import GatewaySettings
from invoke_svc.settings import InvokeSettings
from mesh.settings import MeshSettings
from registry_svc.settings import RegistrySettings
from tests.support.compose import FILE, compose

_SETTINGS: dict[str, type[MeshSettings]] = {
    "registry": RegistrySettings,
    "build": BuildSettings,
    "deploy": DeploySettings,
    "invoke": InvokeSettings,
    "gateway": GatewaySettings,
}
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*)|:\?[^}]*)?\}")


def _services() -> dict[str, dict[str, Any]]:
    text = _VARIABLE.sub(lambda found: found[2] or ("1" if found[2] is None else ""), FILE.read_text())
    services: dict[str, dict[str, Any]] = yaml.safe_load(text)["services"]
    return services


def test_images_are_built_from_the_dockerfile_if_they_are_not_there() -> None:
    dockerfile = (FILE.parents[1] / "deploy/Dockerfile").read_text()

    for name, one in _services().items():
        build = one["build"]
        assert (FILE.parent / build["context"]).resolve() == FILE.parents[1]
        assert build["target"] == ("envoy" if name == "envoy" else "services")
        assert f" AS {build['target']}\n" in dockerfile


def test_the_services_are_those_of_a_mesh() -> None:
    assert set(_services()) == {"setup", "envoy", *_SETTINGS}


@pytest.mark.parametrize("name", sorted(_SETTINGS))
def test_a_service_takes_what_it_is_told(name: str) -> None:
    service = _services()[name]
    settings = _SETTINGS[name].load(service["environment"])

    assert service["command"] == ["python", "-m", "gateway" if name == "gateway" else f"{name}_svc"]
    assert str(settings.token_file) == "/var/lib/fnmesh/token"
    assert {"data:/var/lib/fnmesh", "run:/run/fnmesh"} <= set(service["volumes"])
    assert service["depends_on"] == {"setup": {"condition": "service_completed_successfully"}}


def test_only_those_that_need_docker_have_its_socket_and_nothing_is_writable_or_privileged() -> None:
    services = _services()
    with_socket = {name for name, one in services.items() if any("docker.sock" in volume for volume in one["volumes"])}

    assert with_socket == {"build", "deploy"}
    for one in services.values():
        assert one["read_only"] is True and one["cap_drop"] == ["ALL"]
        assert one["security_opt"] == ["no-new-privileges:true"]
        assert not {"privileged", "ports", "user"} & set(one)


def test_every_service_is_bounded_and_says_how_it_is() -> None:
    """What a full /tmp or a leak costs is that service, and not the host."""
    for name, one in _services().items():
        assert one["mem_limit"] and one["pids_limit"]
        assert [option for option in one["tmpfs"][0].split(":")[1].split(",") if option.startswith("size=")]
        assert ("healthcheck" in one) == (name != "setup")
    for name, settings in _SETTINGS.items():
        service = _services()[name]
        assert (
            service["healthcheck"]["test"][-1]
            == settings.load({**service["environment"], "FNMESH_RUN_DIR": "/run/fnmesh"}).own_address
        )
        assert service["environment"]["TMPDIR"].startswith("/var/lib/fnmesh/")


def test_no_code_of_others_runs_as_the_user_of_a_service() -> None:
    services = _services()

    assert BuildSettings.load(services["build"]["environment"]).build_process_target is False
    assert DeploySettings.load(services["deploy"]["environment"]).local_targets == {"docker"}
    assert InvokeSettings.load(services["invoke"]["environment"]).invoke_job_target == "docker"


def test_envoy_is_where_the_gateway_writes_its_bootstrap() -> None:
    services = _services()
    written = services["gateway"]["environment"]["FNMESH_GATEWAY_BOOTSTRAP_FILE"]

    assert services["envoy"]["command"][:2] == ["--bootstrap", written]
    assert "run:/run/fnmesh" in services["envoy"]["volumes"]


@pytest.mark.compose
def test_compose_takes_it_and_asks_for_the_group_of_the_socket() -> None:
    whole = yaml.safe_load(compose("config", project="fnmesh-test", environ={"DOCKER_GROUP": "999"}))
    services = whole["services"]

    assert set(services) == set(_services())
    assert services["build"]["group_add"] == ["999"]
    with pytest.raises(AssertionError, match=r"DOCKER_GROUP|group that may use the socket"):
        compose("config", project="fnmesh-test", environ={})
