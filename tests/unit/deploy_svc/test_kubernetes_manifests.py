"""What functions are on a cluster: golden files, checked against the published schemas, and what the names are."""

from __future__ import annotations

import copy
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from deploy_svc.domain import Artifact, ArtifactKind
from deploy_svc.kubernetes.manifests import digest, to_yaml
from deploy_svc.kubernetes.names import app_name, handle, instance_uid, mesh_label, parse_handle
from deploy_svc.kubernetes.placement import parse_spot, spot_fields
from deploy_svc.kubernetes.quantities import quantity
from deploy_svc.kubernetes.resources import cpu_quantity, memory_quantity
from mesh.errors import FailedPrecondition
from tests.support.golden_manifests import DIRECTORY, all_of_them, function, objects, workload
from tests.support.kubernetes import SPIN_APP_CRD
from tests.support.kubernetes.schemas import custom, problems

NEWEST = "1.37"


def test_the_golden_files_are_what_is_made() -> None:
    made = {f"{name}.yaml": to_yaml(manifests) for name, manifests in all_of_them().items()}
    assert {path.name: path.read_text() for path in DIRECTORY.glob("*.yaml")} == made


@pytest.mark.parametrize("path", sorted(DIRECTORY.glob("*.yaml")), ids=lambda path: str(path.stem))
def test_they_are_valid(path: Path) -> None:
    for manifest in yaml.safe_load_all(path.read_text()):
        if manifest["kind"] == "SpinApp":
            before = copy.deepcopy(manifest)
            assert not list(problems(manifest, custom(SPIN_APP_CRD, "v1alpha1")))
            assert manifest == before, "a field that the kind does not know"
        else:
            kubernetes_validate.validate(manifest, NEWEST, strict=True)


def test_secrets_are_neither_shown_nor_in_any_mark() -> None:
    def made(value: str) -> list[dict[str, object]]:
        return objects(function(), workload(env={"TOKEN": value}, secret_names=frozenset({"TOKEN"})))

    assert to_yaml(made("s3cr3t")) == to_yaml(made("another")) and "s3cr3t" not in to_yaml(made("s3cr3t"))
    assert made("s3cr3t") != made("another") and made("s3cr3t")[0]["kind"] == "Secret"


def test_a_revision_changes_only_the_main_object() -> None:
    before, after = objects(function(), workload()), objects(function(revision=5), workload(revision=5))
    assert [digest(one) for one in before[1:]] == [digest(one) for one in after[1:]]
    assert digest(before[0]) != digest(after[0])
    assert before[0]["spec"]["selector"] == after[0]["spec"]["selector"]


def test_what_was_not_built_for_a_cluster_is_refused() -> None:
    tree = workload(artifact=Artifact("sha256:1", ArtifactKind.TREE, "x", 1, "handler.py"))
    with pytest.raises(FailedPrecondition):
        objects(function(), tree)


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("hello", "hello"), ("My_App", "my-app"), ("7zip", "fn-7zip"), ("---", "fn-abc"), ("a" * 52, "a" * 52),
        ("_x_", "x"),
    ],
)  # fmt: skip
def test_a_display_name_is_made_to_fit(given: str, made: str) -> None:
    assert app_name(given, "fn-abc") == made


def test_long_names_stay_different() -> None:
    names = {app_name("x" * 55 + one, "fn-abc") for one in ("a", "b")}
    assert len(names) == 2 and all(len(name) <= 52 for name in names)


def test_handles_and_identifiers() -> None:
    context = "arn:aws:eks:eu:1:cluster/foo@bar"
    assert parse_handle(handle("apps", "hello-1", 3, context)) == ("apps", "hello-1", 3, context)
    assert instance_uid("u", 0) == instance_uid("u", 0) != instance_uid("u", 1)
    assert len(instance_uid("u", 0)) == 15
    assert mesh_label("abc") == "abc" and mesh_label("/a b/") != "/a b/"


def test_spot_settings() -> None:
    assert spot_fields(parse_spot("", " ")) == {}
    fields = spot_fields(parse_spot("a/b=c", "k=v:NoExecute"))
    assert fields["tolerations"] == [{"key": "k", "operator": "Equal", "value": "v", "effect": "NoExecute"}]
    for labels, tolerations in (("a", ""), ("", "k=v"), ("", "k:NoSchedule"), ("", "k=v:Never")):
        with pytest.raises(ValueError, match="is not of the form"):
            parse_spot(labels, tolerations)


def test_quantities() -> None:
    assert [memory_quantity(n) for n in (1 << 30, 300 << 20, 3 << 10, 1000)] == ["1Gi", "300Mi", "3Ki", "1000"]
    assert [cpu_quantity(n) for n in (2000, 250)] == ["2", "250m"]
    told = {"250m": 0.25, "2": 2, "64Mi": 64 << 20, "1500000n": 0.0015, "1e3": 1000, "129M": 129e6, "": 0, "xMi": 0}
    assert {text: pytest.approx(quantity(text)) for text in told} == told
