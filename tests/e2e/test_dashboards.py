"""The Grafana dashboards of deploy/chart ask only for metrics and labels that a mesh offers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.eventually import eventually_sync
from tests.support.helm import CHART
from tests.support.running_mesh import RunningMesh

_BOARDS = sorted((CHART / "dashboards").glob("*.json"))
_METRIC = re.compile(r"\b((?:fnmesh|envoy)_[a-z_]+)(?=[{\[),]|$)(?:\{([^}]*)\})?")
_LABEL = re.compile(r"(\w+)(?==)")
_BY = re.compile(r"by \(([^)]*)\)")
_SAMPLE = re.compile(r"^([a-z_]+)\{([^}]*)\}|^([a-z_]+) ", re.MULTILINE)


@pytest.fixture(scope="module")
def offered(mesh: RunningMesh) -> dict[str, set[str]]:
    """Names of metrics, each with its labels."""
    admin = httpx.HTTPTransport(uds=str(mesh.run_dir / "m/envoy-admin.sock"))

    def pages() -> str:
        with httpx.Client(trust_env=False, timeout=30) as client, httpx.Client(transport=admin) as envoy:
            return client.get(f"{mesh.url}/metrics").text + envoy.get("http://envoy/stats/prometheus").text

    def all_there() -> dict[str, set[str]] | None:
        page = pages()
        found: dict[str, set[str]] = {}
        for name, labels, bare in _SAMPLE.findall(page):
            found.setdefault(name or bare, set()).update(_LABEL.findall(labels))
        # Of functions there may be none yet: then a family has its head only.
        for name, kind in re.findall(r"^# TYPE (fnmesh_function_\w+) (\w+)$", page, re.MULTILINE):
            endings = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
            for ending in endings:
                found.setdefault(name + ending, {"function", "function_id", "workspace_id", "le"})
        return found if "envoy_http_downstream_rq_time_bucket" in found else None  # after the first request

    found = eventually_sync(all_there, 60)
    assert found is not None
    return found


@pytest.mark.parametrize("board", [pytest.param(json.loads(path.read_text()), id=path.stem) for path in _BOARDS])
def test_a_dashboard_asks_for_what_there_is(board: dict[str, Any], offered: dict[str, set[str]]) -> None:
    asked = list(_queries(board))

    assert len(asked) >= 8
    for query in asked:
        names = _METRIC.findall(_BY.sub("", query))
        assert names, query
        for name, labels in names:
            assert name in offered, query
            assert set(_LABEL.findall(labels)) <= offered[name], query
            for grouped in _BY.findall(query):
                assert {label.strip() for label in grouped.split(",")} <= offered[name] | {"le"}, query


def _queries(board: dict[str, Any]) -> Iterator[str]:
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield target["expr"]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]
