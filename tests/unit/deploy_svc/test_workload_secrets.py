"""A function's secrets on their way to its instances."""

from __future__ import annotations

from deploy_svc.convert import to_workload
from fnmesh.internal.registry.v1 import registry_internal_service_pb2 as internal_pb
from fnmesh.registry.v1 import function_pb2, registry_service_pb2, revision_pb2

_SECRET = "hush-hush"


def _answer() -> internal_pb.GetWorkloadResponse:
    artifact = revision_pb2.Artifact(digest="sha256:1", kind=revision_pb2.ARTIFACT_KIND_TREE, reference="blob")
    return internal_pb.GetWorkloadResponse(
        revision=revision_pb2.Revision(number=1, artifact=artifact, runtime=function_pb2.RUNTIME_PYTHON),
        env={"GREETING": "hi"},
        secrets={"TOKEN": _SECRET},
    )


def test_secrets_are_environment_variables_of_the_workload() -> None:
    workload = to_workload("fn-a", _answer())

    assert workload.env == {"GREETING": "hi", "TOKEN": _SECRET}
    assert _SECRET not in repr(workload)


def test_messages_with_secrets_say_so_to_whoever_prints_them() -> None:
    for message, field in (
        (internal_pb.GetWorkloadResponse, "secrets"),
        (registry_service_pb2.SetSecretRequest, "value"),
    ):
        assert message.DESCRIPTOR.fields_by_name[field].GetOptions().debug_redact
