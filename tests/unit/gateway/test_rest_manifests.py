"""What a deploy would apply to a cluster."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gateway.rest import manifests, quantities
from gateway.rest.app_names import made_up
from gateway.rest.manifests import App
from gateway.rest.task_views import Places

IMAGE = "127.0.0.1:5000/faas-app:a1b2c3d4"
SHOWN = st.characters(min_codepoint=32, max_codepoint=126)


def parsed(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(manifests.to_yaml(documents)))


def test_a_spin_app_with_a_number_of_replicas() -> None:
    (found,) = parsed(manifests.spin_app(App("my-app", "default", IMAGE, 3, "fn-1", "500m", "128Mi")))

    assert found == {
        "apiVersion": "core.spinkube.dev/v1alpha1", "kind": "SpinApp",
        "metadata": {"name": "my-app", "namespace": "default", "labels": {"function_id": "fn-1"}},
        "spec": {
            "image": IMAGE, "executor": "containerd-shim-spin", "replicas": 3, "podLabels": {"function_id": "fn-1"},
            "resources": {"limits": {"cpu": "500m", "memory": "128Mi"}},
        },
    }  # fmt: skip


def test_a_spin_app_that_scales_by_itself() -> None:
    app, autoscaler = parsed(manifests.spin_app(App("my-app", "default", IMAGE, None, use_spot=True)))

    assert app["spec"] == {"image": IMAGE, "executor": "containerd-shim-spin", "enableAutoscaling": True}
    assert app["metadata"]["annotations"] == {"fnmesh.dev/use-spot": "true"}
    assert autoscaler["kind"] == "HorizontalPodAutoscaler"
    assert autoscaler["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "my-app"}


def test_an_image_that_listens_itself() -> None:
    deployment, service = parsed(manifests.deployment(App("web", "default", IMAGE, 2, service_account="runner")))

    assert deployment["spec"]["replicas"] == 2
    pod = deployment["spec"]["template"]
    assert pod["spec"]["containers"][0]["image"] == IMAGE
    assert pod["spec"]["serviceAccountName"] == "runner"
    assert pod["metadata"]["labels"] == deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]


@given(
    st.dictionaries(st.text(SHOWN, min_size=1, max_size=8), st.text(SHOWN, max_size=12) | st.integers() | st.booleans())
)
def test_any_value_is_read_back_as_it_was(value: dict[str, Any]) -> None:
    document = {"outer": value or {"empty": "no"}, "list": [{"a": "1", "b": "true"}, {"c": "- x: y"}]}

    assert parsed([document]) == [document]


def test_made_up_names_have_their_form() -> None:
    names = {made_up() for _ in range(50)}

    assert len(names) > 40
    assert all(re.fullmatch(r"spin-[a-z]+-[a-z]+-[0-9]{4}", name) for name in names)


@pytest.mark.parametrize(("text", "millis"), [("500m", 500), ("1", 1000), ("0.25", 250), ("256", 256_000)])
def test_cpu(text: str, millis: int) -> None:
    assert quantities.cpu_millis(text) == millis


@pytest.mark.parametrize(
    ("text", "size"), [("128Mi", 128 << 20), ("1Gi", 1 << 30), ("64M", 64_000_000), ("0.5Gi", 1 << 29)]
)
def test_memory(text: str, size: int) -> None:
    assert quantities.memory_bytes(text) == size


@pytest.mark.parametrize("text", ["", "1m", "300", "-1", "1Mi", "m", "1e3", "0"])
def test_what_is_no_cpu_limit(text: str) -> None:
    with pytest.raises(ValueError, match="CPU limit"):
        quantities.cpu_millis(text)


@pytest.mark.parametrize("text", ["", "1Mi", "65Gi", "128MB", "1m", "Gi"])
def test_what_is_no_memory_limit(text: str) -> None:
    with pytest.raises(ValueError, match="memory limit"):
        quantities.memory_bytes(text)


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("s3://bucket", "s3://bucket/build-sources/my-workspace/1/"),
        ("s3://bucket/prefix/", "s3://bucket/prefix/build-sources/my-workspace/1/"),
        ("/var/lib/fnmesh/blobs", "file:///var/lib/fnmesh/blobs/build-sources/my-workspace/1/"),
        ("file:///blobs", "file:///blobs/build-sources/my-workspace/1/"),
    ],
)
def test_names_of_what_is_in_the_blob_store(url: str, source: str) -> None:
    assert Places(url).source("my-workspace", "1") == source
    assert Places(url).wasm("1").endswith("/build-artifacts/1/app.wasm")
