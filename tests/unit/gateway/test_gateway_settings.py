"""Settings of the gateway, and what Envoy is told from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.envoy.spec import Collector, EnvoySpec
from gateway.settings import GatewaySettings, collector_of
from mesh.clock import SystemClock
from mesh.settings import SettingsError


def settings(tmp_path: Path, **fields: str) -> GatewaySettings:
    (tmp_path / "token").write_text("t" * 32)
    environ = {"FNMESH_RUN_DIR": str(tmp_path), "FNMESH_DATA_DIR": str(tmp_path / "data"), **fields}
    return GatewaySettings.load(environ)


def test_the_defaults_listen_on_this_machine_only(tmp_path: Path) -> None:
    spec = settings(tmp_path).envoy_spec({})
    assert (spec.listen_host, spec.listen_port) == ("127.0.0.1", 8080)
    assert spec.gateway_address == f"unix:{tmp_path}/m/gateway.sock"
    assert spec.admin_socket == f"{tmp_path}/m/envoy-admin.sock"
    assert spec.service_token == "t" * 32
    assert spec.collector is None


@pytest.mark.parametrize("listen", ["0.0.0.0:8080", "10.1.2.3:80", "[::]:8080"])
def test_another_address_needs_keys(tmp_path: Path, listen: str) -> None:
    with pytest.raises(SettingsError, match=r"FNMESH_AUTH=keys"):
        settings(tmp_path, FNMESH_GATEWAY_LISTEN=listen)
    assert settings(tmp_path, FNMESH_GATEWAY_LISTEN=listen, FNMESH_AUTH="keys").gateway_listen == listen


@pytest.mark.parametrize("listen", ["8080", "nonsense:80", "127.0.0.1:x", "127.0.0.1:70000", ""])
def test_an_address_that_is_none(tmp_path: Path, listen: str) -> None:
    if not listen:
        assert settings(tmp_path, FNMESH_GATEWAY_LISTEN="").listen == ("127.0.0.1", 8080)
        return
    with pytest.raises(SettingsError, match=r"is not ip:port"):
        settings(tmp_path, FNMESH_GATEWAY_LISTEN=listen)


def test_localhost_and_ipv6_are_understood(tmp_path: Path) -> None:
    assert settings(tmp_path, FNMESH_GATEWAY_LISTEN="localhost:0").listen == ("127.0.0.1", 0)
    assert settings(tmp_path, FNMESH_GATEWAY_LISTEN="[::1]:80").listen == ("::1", 80)


def test_certificate_and_key_belong_together(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"belong together"):
        settings(tmp_path, FNMESH_GATEWAY_TLS_CERT_FILE="/x.pem")


def test_a_name_that_nobody_knows(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"FNMESH_GATEWAY_LISTN"):
        settings(tmp_path, FNMESH_GATEWAY_LISTN="127.0.0.1:1")


def test_allowed_names_are_lists(tmp_path: Path) -> None:
    spec = settings(
        tmp_path,
        FNMESH_AUTH="keys",
        FNMESH_GATEWAY_LISTEN="10.0.0.1:443",
        FNMESH_GATEWAY_ALLOWED_HOSTS="mesh.example, other.example ,",
        FNMESH_GATEWAY_ALLOWED_ORIGINS="https://app.example",
    ).envoy_spec({})
    assert spec.allowed_hosts == ("10.0.0.1", "mesh.example", "other.example")
    assert spec.allowed_origins == ("https://app.example",)


def test_a_missing_token_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"FNMESH_TOKEN_FILE"):
        GatewaySettings.load({"FNMESH_RUN_DIR": str(tmp_path)}).envoy_spec({})


@pytest.mark.parametrize(
    ("environ", "collector"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1234"}, Collector("c", 1234, tls=False)),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c"}, Collector("c", 4317, tls=True)),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "c:1"}, Collector("c", 1, tls=False)),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://b:2",
                "OTEL_EXPORTER_OTLP_HEADERS": "Api-Key=a%20b, x=y",
            },
            Collector("b", 2, tls=False, headers=(("api-key", "a b"), ("x", "y"))),
        ),
    ],
)
def test_the_collector(environ: dict[str, str], collector: Collector | None) -> None:
    assert collector_of(environ) == collector


def test_a_collector_that_is_none() -> None:
    with pytest.raises(SettingsError, match=r"is not a URL"):
        collector_of({"OTEL_EXPORTER_OTLP_ENDPOINT": "ftp://x"})


def test_a_spec_survives_its_way_to_another_process() -> None:
    spec = EnvoySpec(
        listen_host="::1",
        listen_port=0,
        gateway_address="unix:/g",
        rest_address="unix:/r",
        admin_socket="/a",
        service_token="secret",
        allowed_hosts=("a", "b"),
        collector=Collector("c", 1, tls=True, headers=(("k", "v"),)),
    )
    assert EnvoySpec.from_json(spec.to_json()) == spec


def test_what_is_beside_the_mesh_has_older_names_too(tmp_path: Path) -> None:
    older = {
        "PROMETHEUS_SERVICE_URL": "http://prometheus:9090",
        "LOKI_SERVICE_URL": "http://loki:3100",
        "FNMESH_CLUSTER_ALIASES": "a, b",
    }
    alone = settings(tmp_path).observing(SystemClock())
    assert (alone.lines, alone.metrics, alone.clusters) == (None, None, {"default"})
    found = settings(tmp_path, **older)
    assert found.gateway_prometheus_url == "http://prometheus:9090"
    assert found.observing(SystemClock()).clusters == {"default", "a", "b"}
    assert found.observing(SystemClock()).lines is not None
    newer = settings(tmp_path, **older, FNMESH_LOKI_URL="http://me:hunter2@other:3100")
    assert newer.loki_url == "http://me:hunter2@other:3100"
    assert "hunter2" not in str(newer.redacted())


@pytest.mark.parametrize("name", ["FNMESH_LOKI_URL", "FNMESH_GATEWAY_PROMETHEUS_URL"])
def test_a_server_that_is_no_url(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is wrong: it is not a URL such as"):
        settings(tmp_path, **{name: "prometheus:9090"})


def test_where_envoy_says_how_it_is(tmp_path: Path) -> None:
    assert settings(tmp_path).envoy_spec({}).stats is None
    spec = settings(tmp_path, FNMESH_GATEWAY_STATS_LISTEN="0.0.0.0:9901").envoy_spec({})
    assert spec.stats == ("0.0.0.0", 9901)
    assert EnvoySpec.from_json(spec.to_json()) == spec
    with pytest.raises(SettingsError, match=r"FNMESH_GATEWAY_STATS_LISTEN=9901 is not ip:port"):
        settings(tmp_path, FNMESH_GATEWAY_STATS_LISTEN="9901")
