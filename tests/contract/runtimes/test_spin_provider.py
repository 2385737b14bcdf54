"""Components put together here, as a real host sees them; and the provider, as its sources make it."""

from __future__ import annotations

import filecmp
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtimes.spin.compose import ComposeError, compose, inspect
from runtimes.spin.host import compile_argv
from runtimes.spin.provider import build
from tests.support import spin_tools, spin_tree, wasmtime_host
from tests.support.spin_tree import PROBE, probe_wasm


def compiles(component: bytes, directory: Path) -> bool:
    wasm = directory / "in.wasm"
    wasm.write_bytes(component)
    argv = compile_argv(wasmtime_host.host(), wasm, directory / "out.cwasm")
    return subprocess.run(argv, capture_output=True, timeout=60, check=False).returncode == 0


@pytest.mark.wasmtime
def test_the_host_takes_what_is_put_together(tmp_path: Path) -> None:
    assert compiles(compose(probe_wasm()), tmp_path)


@pytest.mark.wasmtime
async def test_a_component_of_another_compatible_version_is_served(tmp_path: Path) -> None:
    """As other toolchains make them, for WASI 0.2.3."""
    newer = re.sub(rb"@0\.2\.0(?!-)", b"@0.2.3", probe_wasm())
    assert newer != probe_wasm() and "wasi:http/types@0.2.3" in inspect(newer).imports
    async with wasmtime_host.serving(newer, tmp_path) as address:
        assert await spin_tree.ask(address, "hello") == (200, "hello")
        assert await spin_tree.ask(address, "out:http://127.0.0.1:9/") == (200, "refused 15")


@pytest.mark.wasmtime
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(0, 255)), min_size=1, max_size=3))
def test_no_valid_component_is_broken(tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]) -> None:
    content = bytearray(probe_wasm())
    for at, value in changes:
        content[at % len(content)] = value
    try:
        composed = compose(bytes(content))
    except ComposeError:
        return
    directory = tmp_path_factory.mktemp("damaged")
    assert compiles(composed, directory) == compiles(bytes(content), directory)


@pytest.mark.provider_tools
def test_the_committed_components_are_what_their_sources_make(tmp_path: Path) -> None:
    build.build(build.Tools(spin_tools.ROOT), *(tmp_path / n for n in ("provider.wasm", "front.wasm", "probe.wasm")))
    for committed in (build.HERE / "provider.wasm", build.HERE / "front.wasm", PROBE):
        same = filecmp.cmp(committed, tmp_path / committed.name, shallow=False)
        assert same, f"{committed.name} differs from what its sources make: run 'make provider'"
