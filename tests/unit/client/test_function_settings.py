"""Settings from flags and fnmesh.toml, as an update of a function."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from fnmesh.client import FunctionSettings, SourceError
from fnmesh.client.names import as_function_name, function_name
from fnmesh.client.settings import parse_settings_toml
from fnmesh.client.units import parse_cpu, parse_duration, parse_memory, show_bytes, show_duration
from fnmesh.registry.v1 import function_pb2


def test_only_what_is_set_is_in_the_mask() -> None:
    settings = FunctionSettings(
        memory="128Mi", timeout="1.5s", env={"A": "1"}, path="/api/x/", methods=["get"], target="process"
    )

    function, mask = settings.to_function()

    assert sorted(mask) == [
        "env.A", "limits.memory_bytes", "limits.timeout", "methods", "path", "target"
    ]  # fmt: skip
    assert function.limits.memory_bytes == 128 << 20
    assert function.limits.timeout.ToTimedelta() == timedelta(seconds=1.5)
    assert (function.path, list(function.methods)) == ("x", ["GET"])
    assert function.target == function_pb2.TARGET_PROCESS


def test_where_on_a_cluster_it_runs() -> None:
    settings = parse_settings_toml(
        'target = "kubernetes"\ncontext = "c"\nnamespace = "team-a"\nservice-account = "robot"\nuse-spot = true\n'
        'autoscaling = false\npull_secrets = ["regcred"]\n'
    )
    function, mask = FunctionSettings(app_name="hello-app", namespace="team-b").over(settings).to_function()

    assert function.target == function_pb2.TARGET_KUBERNETES
    assert function.cluster == function_pb2.ClusterSettings(
        context="c", namespace="team-b", app_name="hello-app", service_account="robot", use_spot=True,
        image_pull_secrets=["regcred"],
    )  # fmt: skip
    assert sorted(mask) == [
        "cluster.app_name", "cluster.autoscaling", "cluster.context", "cluster.image_pull_secrets", "cluster.namespace",
        "cluster.service_account", "cluster.use_spot", "target",
    ]  # fmt: skip


def test_flags_win_and_env_is_merged() -> None:
    from_file = parse_settings_toml('memory = "1Gi"\ncpu = 2\n[env]\nA = "file"\nB = true\n')
    merged = FunctionSettings(memory="64Mi", env={"A": "flag"}).over(from_file)

    assert (merged.memory, merged.cpu) == ("64Mi", 2)
    assert merged.env == {"A": "flag", "B": "true"}


def test_keys_may_be_written_as_the_options_are() -> None:
    assert parse_settings_toml("max-instances = 3").max_instances == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("memry = 1\nfoo = 2", "'foo', 'memry'"),
        ("concurrency = 'x'", "'concurrency' in fnmesh.toml must be a whole number"),
        ("methods = 'GET'", "must be a list of texts"),
        ("env = 3", "'env' in fnmesh.toml must be a table"),
        ("use-spot = 'yes'", "'use_spot' in fnmesh.toml must be true or false"),
        ("pull-secrets = 'one'", "'pull_secrets' in fnmesh.toml must be a list of texts"),
        ("= 3", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_told_in_one_sentence(text: str, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        parse_settings_toml(text)


@pytest.mark.parametrize("setting", [{"target": "moon"}, {"runtime": "cobol"}, {"memory": "much"}])
def test_a_wrong_value_is_refused_before_anything_is_sent(setting: dict[str, str]) -> None:
    with pytest.raises(SourceError):
        FunctionSettings(**setting).to_function()  # type: ignore[arg-type]  # the point of it


@pytest.mark.parametrize(
    "setting", [{"memory": "0"}, {"cpu": "0"}, {"cpu": "0.0001"}, {"concurrency": 0}, {"max_instances": 0}]
)
def test_zero_is_not_the_default(setting: dict[str, Any]) -> None:
    with pytest.raises(SourceError, match="is zero"):
        FunctionSettings(**setting).to_function()
    assert FunctionSettings(min_instances=0).to_function()[0].scaling.min_instances == 0


@pytest.mark.parametrize("sign", ["", "-"])
def test_an_amount_without_end_fits_into_the_message(sign: str) -> None:
    """The mesh refuses it, and says its limit."""
    large = "9" * 40
    settings = FunctionSettings(memory=f"{large}Gi", cpu=large, timeout=f"{large}h", concurrency=int(sign + large))

    limits = settings.to_function()[0].limits

    assert (limits.memory_bytes, limits.cpu_millis, limits.timeout.seconds) == (2**63 - 1, 2**31 - 1, 10**9)
    assert abs(limits.concurrency) == 2**31 - 1


@pytest.mark.parametrize(
    ("setting", "name"),
    [({"path": "a\udcff"}, "path"), ({"env": {"A": "\udcff"}}, "env.A"), ({"methods": ["\udcff"]}, "methods")],
)
def test_text_that_is_not_utf8_is_refused(setting: dict[str, Any], name: str) -> None:
    with pytest.raises(SourceError, match=f"'{name}' is not UTF-8"):
        FunctionSettings(**setting).to_function()


def test_units() -> None:
    assert [parse_memory(text) for text in ("256Mi", "1.5GiB", "512M", 7)] == [
        268435456, 1610612736, 512000000, 7,
    ]  # fmt: skip
    assert [parse_cpu(text) for text in ("0.5", 2, "250m", 0.1)] == [500, 2000, 250, 100]
    assert [parse_duration(text).total_seconds() for text in ("500ms", "10s", "2m", 3)] == [0.5, 10, 120, 3]
    assert [show_bytes(size) for size in (5, 1 << 20, 1_600_000)] == ["5 B", "1 MiB", "1.5 MiB"]
    assert [show_duration(s) for s in (0.0000021, 0.42, 3.14, 125)] == [
        "2 µs",
        "420 ms",
        "3.14 s",
        "2 min 5 s",
    ]


@pytest.mark.parametrize("name", ["", "a b", "grüße", "x" * 129, "a/b", "a\n"])
def test_what_cannot_be_a_name_is_refused(name: str) -> None:
    with pytest.raises(SourceError, match="cannot be a function's name"):
        function_name(name)
    with pytest.raises(SourceError, match="cannot be a workspace's name"):
        function_name("hello", name)


def test_names() -> None:
    assert function_name("hello") == "workspaces/default/functions/hello"
    assert function_name("workspaces/a/functions/b", "c") == "workspaces/a/functions/b"
    assert [as_function_name(name) for name in ("My Files", "a_b-1", "é!")] == [
        "my-files",
        "a_b-1",
        "function",
    ]
