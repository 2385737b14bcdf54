"""Envoy's configuration is compiled once for all meshes that are alike, and kept without the service token."""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.envoy.compiled import Compiled, compiled
from gateway.envoy.spec import Collector, EnvoySpec

SPEC = EnvoySpec("127.0.0.1", 8080, "unix:/run/g", "unix:/run/r", "/run/a", secrets.token_urlsafe(32))


def tokens_in(made: Compiled, token: str) -> int:
    return made.bootstrap.count(token.encode()) + sum(one.body.count(token.encode()) for one in made.resources)


def files_of(cache: Path) -> list[Path]:
    return list(cache.iterdir())


async def test_the_next_start_takes_what_was_kept(tmp_path: Path) -> None:
    first = await compiled(SPEC, tmp_path)
    (file,) = files_of(tmp_path)
    assert file.stat().st_mode & 0o777 == 0o600
    assert SPEC.service_token not in file.read_text()
    assert tokens_in(first, SPEC.service_token) >= 2

    kept = Compiled.from_json(file.read_text())
    file.write_text(replace(kept, bootstrap=b"").to_json())
    other = replace(SPEC, service_token=secrets.token_urlsafe(32))
    second = await compiled(other, tmp_path)
    assert second.bootstrap == b""
    assert tokens_in(second, SPEC.service_token) == 0
    assert second.with_token(other.service_token, SPEC.service_token).resources == first.resources

    for damaged in (json.dumps({"resources": []}), replace(kept, bootstrap=b"damaged").to_json()):
        file.write_text(damaged)
        assert await compiled(SPEC, tmp_path) == first
        assert Compiled.from_json(file.read_text()) == kept


PLACES = {
    "several": replace(
        SPEC, listen_port=9, gateway_address="unix:/x/g-1,unix:/x/g-2", rest_address="unix:/r1,unix:/x/g-2"
    ),
    "reached over TCP": replace(SPEC, gateway_address="10.0.0.1:7001", rest_address="10.0.0.2:7002,10.0.0.3:7003"),
    "any port": replace(SPEC, listen_port=0, admin_socket="/run/another/admin.sock"),
    "counters told": replace(SPEC, stats=("127.0.0.1", 9901), admin_socket="/run/another/admin.sock"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # envoy-data-plane's models and a later pydantic
@pytest.mark.parametrize("spec", PLACES.values(), ids=PLACES)
async def test_places_are_put_into_what_is_kept(spec: EnvoySpec, tmp_path: Path) -> None:
    from envoy_data_plane.envoy.config.bootstrap.v3 import Bootstrap
    from envoy_data_plane.envoy.config.cluster.v3 import Cluster
    from envoy_data_plane.envoy.config.listener.v3 import Listener

    from gateway.envoy import bootstrap, compile

    def elsewhere(addresses: str) -> str:
        return ",".join(f"{one}-elsewhere" if one.startswith("unix:") else one for one in addresses.split(","))

    other = replace(
        spec,
        listen_port=4321 if spec.listen_port else 0,
        gateway_address=elsewhere(spec.gateway_address),
        rest_address=elsewhere(spec.rest_address),
        admin_socket="/elsewhere",
    )
    await compiled(other, tmp_path)
    (file,) = files_of(tmp_path)
    written = file.stat().st_mtime_ns
    made = await compiled(spec, tmp_path)
    assert (files_of(tmp_path), file.stat().st_mtime_ns) == ([file], written)

    assert Bootstrap.parse(made.bootstrap) == bootstrap.bootstrap(spec)
    wanted = compile.fixed_resources(spec)
    assert [(one.type_url, one.name) for one in made.resources] == [(one.type_url, one.name) for one in wanted]
    for one, right in zip(made.resources, wanted, strict=True):
        kind = {"Cluster": Cluster, "Listener": Listener}.get(one.type_url.rpartition(".")[2])
        assert kind.parse(one.body) == kind.parse(right.body) if kind else one == right


async def test_few_are_kept(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / f"envoy-{number}.json").touch()
    await compiled(SPEC, tmp_path)
    assert len(files_of(tmp_path)) == 8
    written = {file.stat().st_mtime_ns for file in files_of(tmp_path)}
    await compiled(SPEC, tmp_path)
    assert {file.stat().st_mtime_ns for file in files_of(tmp_path)} == written


async def test_what_a_collector_is_told_is_not_kept(tmp_path: Path) -> None:
    secret = Collector("collector.example", 4317, True, (("authorization", "secret"),))
    assert (await compiled(replace(SPEC, collector=secret), tmp_path)).resources
    assert files_of(tmp_path) == []
