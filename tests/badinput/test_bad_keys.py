"""Keys that are no good, and keys of another workspace, at every public method and at a function's door."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import grpc
import httpx
import pytest
from google.protobuf import json_format
from google.protobuf.message import Message

from fnmesh.client import Mesh, NotFound
from tests.support.eventually import eventually_sync
from tests.support.public_api import Outcome, call, known_methods
from tests.support.public_requests import World
from tests.support.running_mesh import RunningMesh
from tests.support.sources import source_maker

pytestmark = pytest.mark.usefixtures("all_undisturbed")

METHODS = {method.name: method for method in known_methods()}
CODE = grpc.StatusCode
ALL = ("admin", "deploy", "invoke")
OF_NO_WORKSPACE = {
    "ListTargets", "ListWorkspaces", "ListApiKeys", "UploadSource", "ImportSource", "ResolveImage", "ListFunctionUsage",
    "GetTargetUsage", "RenderManifests",
}  # fmt: skip
"""They work for any good key; what they list is the key's own."""
WORKED = {"ImportSource": CODE.UNAVAILABLE, "ResolveImage": CODE.UNAVAILABLE}
"""What a call answers that nothing is wrong with: there is no registry here."""
FOR_INVOKE = {
    "Invoke", "InvokeStream", "GetExecution", "ListExecutions",
    "ListJobs", "CountJobs", "GetJob", "WatchJob", "GetJobLog", "ListSchedules", "GetSchedule",
}  # fmt: skip
"""What a key with the scope invoke may do."""
HELLO = "def handler(event, context):\n    return 'hello'\n"


@pytest.fixture(scope="module")
def mesh() -> Iterator[RunningMesh]:
    """A mesh that asks for keys; its command line has the admin's."""
    running = RunningMesh(environ={"FNMESH_AUTH": "keys"})
    try:
        running.environ["FNMESH_API_KEY"] = running.first_key()
        yield running.start()
        assert running.stop() == 0, running.errors()
    finally:
        running.remove()


@pytest.fixture(scope="module")
def admin(mesh: RunningMesh) -> Iterator[Mesh]:
    with Mesh(mesh.server, api_key=mesh.environ["FNMESH_API_KEY"]) as connected:
        yield connected


@pytest.fixture(scope="module")
def world(mesh: RunningMesh, admin: Mesh, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A deployed function in the workspace team-a, and what came of it."""
    for team in ("team-a", "team-b"):
        source = source_maker(tmp_path_factory.mktemp(team))(f"of-{team}", **{"handler.py": HELLO})
        mesh.cli("deploy", str(source), "--target", "process", "--workspace", team, "--access", "key")
    with Mesh(mesh.server, api_key=mesh.environ["FNMESH_API_KEY"], workspace="team-a") as client:
        client.invoke("of-team-a", {})
        eventually_sync(lambda: client.executions("of-team-a"), 10)
        found = World.of(client, "of-team-a")
        eventually_sync(lambda: len(client.executions("of-team-a")) == 2, 10)
        return found


@pytest.fixture(scope="module")
def channel(mesh: RunningMesh) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(mesh.server) as opened:
        yield opened


def _key(admin: Mesh, *scopes: str, workspace: str | None = None, expires: datetime | None = None) -> str:
    return admin.create_key(scopes, workspace=workspace, expires=expires).secret


def _call(channel: grpc.Channel, secret: str, method: str, requests: list[Message]) -> Outcome:
    metadata = (("authorization", f"Bearer {secret}"),) if secret else ()
    return call(channel, METHODS[method], *requests, metadata=metadata)


def _door(mesh: RunningMesh, secret: str, function: str = "of-team-a") -> httpx.Response:
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    return httpx.get(f"{mesh.url}/api/{function}", headers=headers, trust_env=False, timeout=30)


def _revoked(admin: Mesh) -> str:
    made = admin.create_key(ALL)
    admin.revoke_key(made.api_key.name)
    return made.secret


def _expired(admin: Mesh) -> str:
    """A key that is over by now; its first use is the one that is refused."""
    expires = datetime.now(UTC) + timedelta(seconds=1.5)
    secret = _key(admin, *ALL, expires=expires)
    eventually_sync(lambda: datetime.now(UTC) > expires + timedelta(seconds=0.2), 10)
    return secret


def test_a_key_of_a_workspace_reads_the_traces_of_its_own_and_of_no_other(
    mesh: RunningMesh, admin: Mesh, world: World
) -> None:
    own, stranger = (_key(admin, *ALL, workspace=team) for team in ("team-a", "team-b"))
    secret = mesh.environ["FNMESH_API_KEY"]
    with Mesh(mesh.server, api_key=secret, workspace="team-a") as client:
        built = client.builds("of-team-a")[-1].trace_id
    _seen(mesh, own, lambda: built, {"build", "build install", "deploy.start_instance"})
    asked: list[str] = []

    def ask() -> str:
        asked.append(_door(mesh, secret).headers["x-trace-id"])
        return asked[-1]

    def join() -> str:
        """Somebody of team-b sends the trace's id along with a request of their own."""
        headers = {"authorization": f"Bearer {stranger}", "traceparent": f"00-{asked[-1]}-{'1' * 16}-01"}
        answer = httpx.get(f"{mesh.url}/api/of-team-b", headers=headers, trust_env=False)
        assert (answer.json(), answer.headers["x-trace-id"]) == ("hello", asked[-1])
        return asked[-1]

    _seen(mesh, own, ask, {"GET /api/of-team-a", "invoke of-team-a", "workload"})
    seen = _seen(mesh, stranger, join, {"GET /api/of-team-b", "invoke of-team-b", "workload"})
    assert not [name for name in seen if "team-a" in name]
    with Mesh(mesh.server, api_key=stranger) as client, pytest.raises(NotFound, match="or is not this key's workspace"):
        client.trace(built)


def test_every_method_refuses_a_key_that_is_no_good(
    mesh: RunningMesh, channel: grpc.Channel, admin: Mesh, world: World
) -> None:
    over = "The API key is unknown, revoked or expired."
    none = "This mesh needs an API key: send 'Authorization: Bearer fnm_...' (FNMESH_API_KEY)."
    keys = {
        "": ("KEY_MISSING", none),
        "fnm_" + "a" * 40: ("KEY_INVALID", over),
        "not a key at all": ("KEY_INVALID", over),
        _revoked(admin): ("KEY_INVALID", over),
        _expired(admin): ("KEY_INVALID", over),
    }
    for secret, told in keys.items():
        for name, requests in world.requests().items():
            outcome = _call(channel, secret, name, requests)
            assert (outcome.code, outcome.answers) == (CODE.UNAUTHENTICATED, []), (name, outcome)
            assert (outcome.reason, outcome.message) == told, name
        refused = _door(mesh, secret)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert (refused.json()["reason"], refused.json()["detail"]) == told


def test_every_method_refuses_what_is_outside_the_keys_workspace(
    mesh: RunningMesh, channel: grpc.Channel, admin: Mesh, world: World
) -> None:
    stranger = _key(admin, *ALL, workspace="team-b")
    before = _state(admin, world)
    for name, requests in world.requests().items():
        for sent in _said_in_other_ways(requests, world):
            outcome = _call(channel, stranger, name, sent)

            if name in OF_NO_WORKSPACE:
                assert outcome.code is WORKED.get(name, CODE.OK), (name, outcome)
                assert world.workspace not in str(outcome.answers), (name, outcome)
                assert world.function.rpartition("/")[2] not in str(outcome.answers), (name, outcome)
                continue
            assert outcome.code in (CODE.PERMISSION_DENIED, CODE.NOT_FOUND, CODE.INVALID_ARGUMENT), (name, outcome)
            assert outcome.answers == [], name
            assert 10 < len(outcome.message) < 300, outcome
    assert _state(admin, world) == before
    with Mesh(mesh.server, api_key=stranger) as client:
        assert [one.display_name for one in client.list(workspace="-")] == ["of-team-b"]
    refused = _door(mesh, stranger)
    assert (refused.status_code, refused.json()["reason"]) == (403, "WORKSPACE_DENIED")
    assert refused.json()["detail"] == "The API key is bound to another workspace."
    assert _door(mesh, stranger, "of-team-b").json() == "hello"


@pytest.mark.parametrize("scope", ["deploy", "invoke"])
def test_scopes_of_every_method(channel: grpc.Channel, admin: Mesh, world: World, scope: str) -> None:
    secret = _key(admin, scope, workspace="team-b" if scope == "deploy" else None)
    for name, requests in world.requests().items():
        allowed = name in FOR_INVOKE if scope == "invoke" else name in OF_NO_WORKSPACE - {"ListApiKeys"}
        outcome = _call(channel, secret, name, requests)
        if allowed:
            assert outcome.code is WORKED.get(name, CODE.OK), (name, outcome)
        else:
            assert outcome.code in (CODE.PERMISSION_DENIED, CODE.NOT_FOUND), (name, outcome)
            assert outcome.answers == [], name


def test_every_method_works_with_the_workspaces_own_key(channel: grpc.Channel, admin: Mesh, world: World) -> None:
    """Last, since it deletes all there is; shows that the other tests were refused for nothing but their key."""
    own = _key(admin, *ALL, workspace="team-a")
    for name, requests in world.requests().items():
        outcome = _call(channel, own, name, requests)

        expected = CODE.PERMISSION_DENIED if name == "CreateWorkspace" else WORKED.get(name, CODE.OK)
        assert outcome.code is expected, (name, outcome)


def _said_in_other_ways(requests: list[Message], world: World) -> Iterator[list[Message]]:
    """The same call with the workspace by its identifier and by its name; what is in it also from elsewhere."""
    for place in (world.workspace, "workspaces/team-a"):
        yield [_with_name(one, world.workspace, place) for one in requests]
    if "/functions/" in str(requests):
        for place in ("workspaces/team-b", "workspaces/-", "workspaces/default"):
            yield [_with_name(one, world.workspace, place) for one in requests]
    if world.build in str(requests):
        yield [_with_name(one, world.build, f"builds/{world.build.rpartition('/')[2]}") for one in requests]


def _with_name(message: Message, old: str, new: str) -> Message:
    text = json_format.MessageToJson(message).replace(old, new)
    return json_format.Parse(text, type(message)())


def _state(admin: Mesh, world: World) -> tuple[object, ...]:
    """What a stranger could have changed."""
    function = admin.show(world.function)
    listed = admin.keys()
    keys = [(key.name, key.HasField("revoke_time")) for key in listed]
    counts = (len(admin.list(workspace="-")), len(admin.builds(world.function)), len(admin.revisions(world.function)))
    return (function.etag, function.serving_revision, function.running, counts, keys)


def _seen(mesh: RunningMesh, secret: str, request: Callable[[], str], wanted: set[str]) -> set[str]:
    """Names of the spans of what was requested, with these among them; requested again where none was sampled."""

    def complete() -> set[str]:
        with Mesh(mesh.server, api_key=secret) as client:
            try:
                names = {span.display_name for span in client.trace(request()).spans}
            except NotFound:
                return set()
        return names if wanted <= names else set()

    return eventually_sync(complete, 30)
