"""Settings that no function can have: each is refused in one sentence, and nothing is made or changed.

The sentences are those of docs/errors.md, section "The settings of a function".
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import grpc
import httpx
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc import error_details_pb2, status_pb2

from fnmesh.client import Mesh
from fnmesh.registry.v1 import function_pb2, registry_service_pb2
from fnmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from tests.support.contents import Contents, contents
from tests.support.errors_page import answers
from tests.support.inner_cli import fnmesh
from tests.support.running_mesh import RunningMesh
from tests.support.sources import MakeSource, source_maker

pytestmark = pytest.mark.usefixtures("all_undisturbed")

SECTION = "The settings of a function"
GOOD = "def handler(event):\n    return {'version': 1}\n"
PARENT = "workspaces/default"
STANDING = f"{PARENT}/functions/standing"


@dataclass(frozen=True)
class Bad:
    """A bad setting: the row of the page that tells of it, and what is given on the command line or in fnmesh.toml."""

    row: str
    options: tuple[str, ...] = ()
    toml: str = ""
    creates_only: bool = False
    """It says which function is meant, so that it changes none that is there."""


def bad(row: str, *options: str, toml: str = "") -> Bad:
    return Bad(row, options, toml, creates_only=options[:1] in [("--name",), ("--workspace",)])


BAD = [
    bad("`--name Hello`", "--name", "Hello"),
    bad("`--name 'my function'`", "--name", "my function"),
    bad("`--name grüße`", "--name", "grüße"),
    bad("a name of 300 characters", "--name", "x" * 300),
    bad("`--name fn-1`", "--name", "fn-1"),
    bad("`--workspace 'my team'`", "--workspace", "my team"),
    bad("`--path bystander`, where another function is", "--path", "bystander"),
    bad("`--path workspaces/x`", "--path", "workspaces/x"),
    bad("`--path a/../b`", "--path", "a/../b"),
    bad("`--path a//b`", "--path", "a//b"),
    bad("`--path 'a b'`", "--path", "a b"),
    bad("`--path grüße`", "--path", "grüße"),
    bad("a path of 300 characters", "--path", "x" * 300),
    bad("a path that is not UTF-8", "--path", os.fsdecode(b"caf\xe9")),
    bad("`--method 'GET POST'`", "--method", "GET POST"),
    bad("`--env 1A=x`", "--env", "1A=x"),
    bad("`--env 'A B=x'`", "--env", "A B=x"),
    bad("a value of 1 MB in `[env]` of fnmesh.toml", toml=f'[env]\nA = "{"x" * 1_000_000}"\n'),
    bad("a value with a NUL character", toml='[env]\nA = "x\\u0000y"\n'),
    bad("`--env A=****`, where A is not set", "--env", "A=****"),
    bad("an env value that is not UTF-8", "--env", "A=" + os.fsdecode(b"caf\xe9")),
    bad("`--memory '12 bananas'`", "--memory", "12 bananas"),
    bad("`--memory 0`", "--memory", "0"),
    bad("`--memory 1Mi`", "--memory", "1Mi"),
    bad("`--memory 99999999999999Gi`", "--memory", "99999999999999Gi"),
    bad("`--cpu 10,000`", "--cpu", "10,000"),
    bad("`--cpu 10000`", "--cpu", "10000"),
    bad("`--cpu 0`", "--cpu", "0"),
    bad("`--timeout 0`", "--timeout", "0"),
    bad("`--timeout 1h`", "--timeout", "1h"),
    bad("`--timeout soon`", "--timeout", "soon"),
    bad("`--concurrency 0`", "--concurrency", "0"),
    bad("`--concurrency 99999999999`", "--concurrency", "99999999999"),
    bad("`--min-instances 101`", "--min-instances", "101"),
    bad("`--idle-ttl 1s`", "--idle-ttl", "1s"),
    bad("`--max-instances 101`", "--max-instances", "101"),
    bad("`--min-instances 3 --max-instances 2`", "--min-instances", "3", "--max-instances", "2"),
    bad("`--runtime cobol`", "--runtime", "cobol"),
    bad("`--target moon`", "--target", "moon"),
    bad("`--handler 'my handler'`", "--handler", "my handler"),
    bad("`--label 'a b=c'`", "--label", "a b=c"),
    bad("a description of 2,000 characters", "--description", "x" * 2000),
    bad('`memroy = "1Gi"` in fnmesh.toml', toml='memroy = "1Gi"\n'),
    bad('`concurrency = "ten"` in fnmesh.toml', toml='concurrency = "ten"\n'),
    bad("a fnmesh.toml that is not TOML", toml="memory = 1Gi\n"),
]


@dataclass(frozen=True)
class Call:
    """The same said to the registry itself, past every client: the row, the message, the error's reason and field."""

    row: str
    function: function_pb2.Function
    reason: str
    field: str


def limits(**values: object) -> function_pb2.Function:
    return function_pb2.Function(limits=function_pb2.Limits(**values))  # type: ignore[arg-type]


def scaling(**values: object) -> function_pb2.Function:
    return function_pb2.Function(scaling=function_pb2.Scaling(**values))  # type: ignore[arg-type]


CALLS = [
    Call("`--path workspaces/x`", function_pb2.Function(path="workspaces/x"), "PATH_RESERVED", "path"),
    Call("`--path a/../b`", function_pb2.Function(path="a/../b"), "PATH_INVALID", "path"),
    Call("`--path a//b`", function_pb2.Function(path="a//b"), "PATH_INVALID", "path"),
    Call("`--path 'a b'`", function_pb2.Function(path="a b"), "PATH_INVALID", "path"),
    Call("`--path grüße`", function_pb2.Function(path="grüße"), "PATH_INVALID", "path"),
    Call("a path of 300 characters", function_pb2.Function(path="x" * 300), "PATH_INVALID", "path"),
    Call("`--path bystander`, where another function is", function_pb2.Function(path="bystander"), "PATH_TAKEN", ""),
    Call("`--env 1A=x`", function_pb2.Function(env={"1A": "x"}), "ENV_INVALID", "env"),
    Call(
        "a value of 1 MB in `[env]` of fnmesh.toml",
        function_pb2.Function(env={"A": "x" * 1_000_000}), "ENV_INVALID", "env",
    ),
    Call("a value with a NUL character", function_pb2.Function(env={"A": "x\0y"}), "ENV_INVALID", "env.A"),
    Call("`--memory 1Mi`", limits(memory_bytes=2**20), "LIMITS_INVALID", "limits.memory_bytes"),
    Call("`--memory 1Mi`", limits(memory_bytes=-1), "LIMITS_INVALID", "limits.memory_bytes"),
    Call("`--cpu 10000`", limits(cpu_millis=10_000_000), "LIMITS_INVALID", "limits.cpu_millis"),
    Call("`--timeout 0`", limits(timeout=Duration()), "LIMITS_INVALID", "limits.timeout"),
    Call("`--timeout 0`", limits(timeout=Duration(nanos=999_999)), "LIMITS_INVALID", "limits.timeout"),
    Call("`--timeout 1h`", limits(timeout=Duration(seconds=3600)), "LIMITS_INVALID", "limits.timeout"),
    Call("`--concurrency 99999999999`", limits(concurrency=-1), "LIMITS_INVALID", "limits.concurrency"),
    Call("`--min-instances 101`", scaling(min_instances=101), "SCALING_INVALID", "scaling.min_instances"),
    Call("`--idle-ttl 1s`", scaling(idle_ttl=Duration(seconds=1)), "SCALING_INVALID", "scaling.idle_ttl"),
    Call("`--max-instances 101`", scaling(max_instances=101), "SCALING_INVALID", "scaling.max_instances"),
    Call("`--method 'GET POST'`", function_pb2.Function(methods=["GET POST"]), "METHOD_INVALID", "methods"),
    Call("`--handler 'my handler'`", function_pb2.Function(handler="my handler"), "HANDLER_INVALID", "handler"),
    Call("`--label 'a b=c'`", function_pb2.Function(labels={"a b": "c"}), "LABELS_INVALID", "labels"),
    Call(
        "a description of 2,000 characters",
        function_pb2.Function(description="x" * 2000), "DESCRIPTION_INVALID", "description",
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def before(mesh: RunningMesh, bystander: str, tmp_path_factory: pytest.TempPathFactory) -> Contents:
    """The mesh with a function `standing` beside the bystander: no test here changes any of it."""
    source = source_maker(tmp_path_factory.mktemp("standing"))("standing", **{"handler.py": GOOD})
    mesh.cli("deploy", str(source), "--target", "process")
    with Mesh(mesh.server) as client:
        return contents(mesh, client)


@pytest.fixture(scope="module")
def registry(mesh: RunningMesh) -> Iterator[RegistryServiceStub]:
    with grpc.insecure_channel(mesh.server) as channel:
        yield RegistryServiceStub(channel)


@pytest.mark.parametrize("wrong", [pytest.param(each, id=each.row.replace("`", "")) for each in BAD])
def test_a_refused_setting_makes_and_changes_nothing(
    mesh: RunningMesh,
    client: Mesh,
    before: Contents,
    make_source: MakeSource,
    monkeypatch: pytest.MonkeyPatch,
    wrong: Bad,
) -> None:
    sentence = answers(SECTION)[wrong.row]
    files = {"handler.py": GOOD, **({"fnmesh.toml": wrong.toml} if wrong.toml else {})}
    names = [()] if wrong.creates_only else [("--name", "new"), ("--name", "standing")]

    for name in names:
        source = make_source("bad-settings", **files)
        done = fnmesh(monkeypatch, mesh.server, "deploy", str(source), "--target", "process", *name, *wrong.options)

        assert (done.code, done.stdout, done.stderr) == (1, "", f"fnmesh: {sentence}\n")
    if wrong.options[:1] == ("--env",):
        done = fnmesh(monkeypatch, mesh.server, "env", "set", "standing", wrong.options[1])
        assert (done.code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert "should not have happened" not in done.stderr
    assert contents(mesh, client).adds_nothing_to(before)


@pytest.mark.parametrize("wrong", [pytest.param(each, id=f"{n}-{each.reason}") for n, each in enumerate(CALLS)])
def test_the_registry_names_the_field_and_its_limit(
    mesh: RunningMesh, client: Mesh, before: Contents, registry: RegistryServiceStub, wrong: Call
) -> None:
    new, old = function_pb2.Function(display_name="new"), function_pb2.Function(name=STANDING)
    new.MergeFrom(wrong.function)
    old.MergeFrom(wrong.function)
    mask = FieldMask(paths=[field.name for field, _ in wrong.function.ListFields()])

    refusals = []
    with pytest.raises(grpc.RpcError) as creating:
        registry.CreateFunction(registry_service_pb2.CreateFunctionRequest(parent=PARENT, function=new), timeout=20)
    refusals.append(creating.value)
    with pytest.raises(grpc.RpcError) as updating:
        registry.UpdateFunction(registry_service_pb2.UpdateFunctionRequest(function=old, update_mask=mask), timeout=20)
    refusals.append(updating.value)

    for refusal in refusals:
        reason, fields = _details(refusal)
        assert (refusal.details(), reason) == (answers(SECTION)[wrong.row], wrong.reason)
        assert fields == ({wrong.field: refusal.details()} if wrong.field else {})
    assert contents(mesh, client).adds_nothing_to(before)


def test_what_was_there_is_as_it_was(mesh: RunningMesh, client: Mesh, before: Contents, http: httpx.Client) -> None:
    assert http.get("/api/standing").json() == {"version": 1}
    shown = client.show("standing")
    assert (shown.limits, dict(shown.env), shown.path) == (
        function_pb2.Limits(
            memory_bytes=256 * 2**20, cpu_millis=1000, timeout=Duration(seconds=30), concurrency=10
        ),
        {},
        "standing",
    )  # fmt: skip
    assert contents(mesh, client).adds_nothing_to(before)


def test_every_row_of_the_page_is_shown_here() -> None:
    assert {each.row for each in BAD} == set(answers(SECTION))


def _details(refusal: grpc.RpcError) -> tuple[str, Mapping[str, str]]:
    """The reason of an error, and its fields with the sentence on each."""
    (raw,) = (one.value for one in refusal.trailing_metadata() if one.key == "grpc-status-details-bin")
    assert isinstance(raw, bytes)
    info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status_pb2.Status.FromString(raw).details:
        detail.Unpack(info)
        detail.Unpack(bad_request)
    return info.reason, {one.field: one.description for one in bad_request.field_violations}
