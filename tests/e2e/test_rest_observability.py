"""Log lines, metrics and usage over REST, from the mesh itself."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from fnmesh.client import Mesh
from tests.support.eventually import eventually_sync
from tests.support.sources import MakeSource

CODE = """
import sys
def handler(event):
    if event.get("fail"):
        raise ValueError("asked to fail")
    print("said", event.get("word"))
    print("warned", event.get("word"), file=sys.stderr)
    return "ok"
"""


@pytest.fixture(scope="module")
def word() -> str:
    return "observed"


@pytest.fixture
def function(client: Mesh, http: httpx.Client, make_source: MakeSource, word: str) -> str:
    """Identifier of a function that was called with `one`, `two` and `three`, and failed once."""
    if not any(one.display_name == word for one in client.list()):
        client.deploy(make_source(word, **{"handler.py": CODE}), name=word, target="process").wait()
        for said in ("one", "two", "three"):
            client.invoke(word, {"word": said})
        http.post(f"/api/workspaces/default/functions/{word}/invoke", json={"fail": True})
    return client.show(word).uid


def lines(http: httpx.Client, function: str, **params: Any) -> list[str]:
    answer = http.get(f"/api/functions/{function}/loki-logs", params=params)
    assert answer.status_code == 200, answer.text
    assert {key: value for key, value in answer.json().items() if key != "logs"} == {
        "function_id": function, "source": "builtin",
    }  # fmt: skip
    return [one["line"] for one in answer.json()["logs"]]


def test_lines_newest_first(http: httpx.Client, function: str) -> None:
    eventually_sync(lambda: "said three" in lines(http, function) and "warned three" in lines(http, function), 10)

    newest = http.get(f"/api/functions/{function}/loki-logs", params={"query": '|= "said" != "two"', "limit": 2})

    three, one = newest.json()["logs"]
    assert (three["line"], one["line"]) == ("said three", "said one")
    assert set(three) == {"timestamp", "line", "labels"}
    labels = three["labels"]
    assert (labels["function_id"], labels["stream"], labels["revision"]) == (function, "stdout", "1")
    assert labels["instance"].startswith("in-") and labels["workspace_id"] == "ws-default"
    assert len(labels["trace_id"]) == 32
    assert lines(http, function, query="warned") == ["warned three", "warned two", "warned one"]
    assert lines(http, function, query="said", end=one["timestamp"]) == []
    assert lines(http, function, query="said", start=three["timestamp"]) == ["said three"]
    assert lines(http, function, query=f'{{function_id="{function}"}} |= "said t"') == ["said three", "said two"]
    assert lines(http, function, query='{function_id="fn-another"}') == []


def test_lines_are_followed_and_resumed(http: httpx.Client, client: Mesh, function: str, word: str) -> None:
    def read(until: str, **headers: str) -> list[tuple[int, str]]:
        got, number = [], 0
        url = f"/api/functions/{function}/loki-logs"
        with http.stream("GET", url, params={"follow": "true", "query": "said"}, headers=headers) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            for one in answer.iter_lines():
                if one.startswith("id: "):
                    number = int(one[4:])
                elif one.startswith("data: "):
                    got.append((number, json.loads(one[6:])["line"]))
                    if got[-1][1] == "said three":
                        client.invoke(word, {"word": "four"})
                    if got[-1][1] == until:
                        break
        return got

    first = read("said four")
    assert [text for _, text in first] == ["said one", "said two", "said three", "said four"]
    after = {text: number for number, text in first}["said two"]

    assert read("said three", **{"Last-Event-ID": str(after)})[0][1] == "said three"


def test_metrics_of_a_function(http: httpx.Client, function: str) -> None:
    def measured() -> dict[str, Any] | None:
        answer = http.get(f"/api/functions/{function}/metrics")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found if found["memory"]["current"] > 0 and found["invocations"] >= 4 else None

    found = eventually_sync(measured, 20)

    assert found is not None
    assert set(found) == {"function_id", "cpu", "memory", "invocations", "errors", "latency_ms", "source"}
    assert (found["function_id"], found["source"], found["errors"]) == (function, "builtin", 1)
    assert 0 < found["latency_ms"]["p50"] <= found["latency_ms"]["p95"] <= found["latency_ms"]["p99"] < 60_000
    for series in (found["cpu"], found["memory"]):
        assert set(series) == {"current", "series"}
        times = [one["timestamp"] for one in series["series"]]
        assert times == sorted(times) and 1 <= len(times) <= 60
        assert all(time.endswith(":00Z") for time in times)
    assert found["memory"]["current"] > 4 << 20


def test_the_machine_as_a_cluster(http: httpx.Client, function: str) -> None:
    for cluster in ("default", "softbank-execution-engine"):
        answer = http.get(f"/api/cloudwatch/{cluster}", params={"minutes": 10, "period": 60})
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert (set(found), found["cluster"]) == ({"cluster", "points"}, cluster)
        assert 1 <= len(found["points"]) <= 10
        last = found["points"][-1]
        assert set(last) == {"timestamp", "cpu_utilization", "memory_utilization"}
        assert 0 <= last["cpu_utilization"] <= 100 and 0 < last["memory_utilization"] < 100
        names = http.get(f"/api/cloudwatch/{cluster}/metrics").json()
        assert names == {"metrics": ["CPUUtilization", "MemoryUtilization"]}


@pytest.mark.parametrize("params", [{"minutes": 61}, {"minutes": 0}, {"period": 0}, {"period": 3601}])
def test_too_many_minutes(http: httpx.Client, params: dict[str, int]) -> None:
    answer = http.get("/api/cloudwatch/default", params=params)

    assert (answer.status_code, answer.json()["code"]) == (422, "INVALID_ARGUMENT")
    (wrong,) = answer.json()["detail"]
    assert wrong["loc"] == ["query", *params]


@pytest.mark.parametrize("params", [{"query": '|~ "a.*"'}, {"start": "yesterday"}, {"limit": 5001}, {"limit": 0}])
def test_lines_that_cannot_be_asked_for(http: httpx.Client, function: str, params: dict[str, Any]) -> None:
    answer = http.get(f"/api/functions/{function}/loki-logs", params=params)

    assert (answer.status_code, answer.json()["code"]) == (422, "INVALID_ARGUMENT")


def test_what_nobody_knows(http: httpx.Client) -> None:
    for path, detail in {
        "cloudwatch/elsewhere": "There is no cluster 'elsewhere'.",
        "cloudwatch/elsewhere/metrics": "There is no cluster 'elsewhere'.",
        "functions/fn-nothing/metrics": "There is no function with the identifier 'fn-nothing'.",
        "functions/fn-nothing/loki-logs": "There is no function with the identifier 'fn-nothing'.",
        "functions/fn-nothing/loki-logs?follow=true": "There is no function with the identifier 'fn-nothing'.",
    }.items():
        answer = http.get(f"/api/{path}")
        assert (answer.status_code, answer.json()["detail"]) == (404, detail)
