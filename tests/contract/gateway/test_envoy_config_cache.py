"""Envoy's configuration is compiled once, and kept without the service token."""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from pathlib import Path

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
    file.write_text(replace(kept, bootstrap=b"kept").to_json())
    other = replace(SPEC, service_token=secrets.token_urlsafe(32))
    second = await compiled(other, tmp_path)
    assert second.bootstrap == b"kept"
    assert tokens_in(second, SPEC.service_token) == 0
    assert second.with_token(other.service_token, SPEC.service_token).resources == first.resources

    file.write_text(json.dumps({"resources": []}))  # damaged: made anew
    assert await compiled(SPEC, tmp_path) == first
    assert Compiled.from_json(file.read_text()) == kept


async def test_what_a_collector_is_told_is_not_kept(tmp_path: Path) -> None:
    secret = Collector("collector.example", 4317, True, (("authorization", "secret"),))
    assert (await compiled(replace(SPEC, collector=secret), tmp_path)).resources
    assert files_of(tmp_path) == []
