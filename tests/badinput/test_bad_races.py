"""Two who deploy one function at once, and deletes in the middle of a deploy: both are told what became of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import pytest

from fnmesh.client import BuildFailed, DeployFailed, FnmeshError, Mesh, NotFound
from fnmesh.registry.v1 import function_pb2
from tests.support.eventually import eventually_sync
from tests.support.running_mesh import RunningMesh
from tests.support.sources import MakeSource

pytestmark = pytest.mark.usefixtures("undisturbed")

VERSIONED = "def handler(event, context):\n    return {'version': '%s'}\n"
SLOW_START = "import time\n\ntime.sleep(%s)\n\n\ndef handler(event, context):\n    return {'version': '%s'}\n"
PROCESS = {"target": "process"}


def _deploy(server: str, source: str, start: threading.Barrier) -> function_pb2.Function:
    with Mesh(server) as mesh:
        start.wait(30)
        return mesh.deploy(source, **PROCESS).wait(60)


def _at_once(*works: Callable[[], object]) -> list[Future[object]]:
    with ThreadPoolExecutor(len(works)) as pool:
        return [pool.submit(work) for work in works]


def _deploys(mesh: RunningMesh, sources: Sequence[object]) -> list[Future[object]]:
    start = threading.Barrier(len(sources))
    return _at_once(*(lambda source=source: _deploy(mesh.server, str(source), start) for source in sources))


def _versions(make_source: MakeSource, name: str, count: int, code: str = VERSIONED) -> list[object]:
    """Sources of one function that differ."""
    return [make_source(f"{number}/{name}", **{"handler.py": code % number}) for number in range(count)]


def _runs(mesh: RunningMesh, name: str) -> int:
    """How many instances of a function run on this machine."""
    return len(mesh.processes_of(name))


def test_two_first_deploys_of_one_function_at_once(
    mesh: RunningMesh, client: Mesh, http: httpx.Client, make_source: MakeSource
) -> None:
    done = _deploys(mesh, _versions(make_source, "both-new", 2))

    for one in done:
        assert isinstance(one.result(), function_pb2.Function)
    assert [one.display_name for one in client.list()].count("both-new") == 1
    serving = client.show("both-new").serving_revision.rpartition("/")[2]
    assert serving == "2"
    newest = client.builds("both-new")[0]
    assert {build.state for build in client.builds("both-new")} == {newest.state}
    assert http.get("/api/both-new").json()["version"] in ("0", "1")
    eventually_sync(lambda: _runs(mesh, "both-new") == 1, 20)


def test_many_deploys_of_one_function_at_once_while_it_is_called(
    mesh: RunningMesh, client: Mesh, http: httpx.Client, make_source: MakeSource
) -> None:
    first, *rest = _versions(make_source, "raced", 4)
    mesh.cli("deploy", str(first), "--target", "process")
    answers: list[int] = []
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=mesh.url, timeout=30, trust_env=False) as session:
            while not stop.is_set():
                answers.append(session.get("/api/raced").status_code)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        done = _deploys(mesh, rest)
    finally:
        stop.set()
        asking.join()

    assert all(isinstance(one.result(), function_pb2.Function) for one in done)
    assert set(answers) == {200}, answers
    serving = client.show("raced").serving_revision
    assert serving.endswith("/revisions/4")
    last = next(build for build in client.builds("raced") if build.revision == serving)
    digests = {build.source_digest: build.revision for build in client.builds("raced")}
    assert (len(digests), digests[last.source_digest]) == (4, serving)
    eventually_sync(lambda: _runs(mesh, "raced") == 1, 20)
    assert {http.get("/api/raced").json()["version"] for _ in range(5)} <= {"1", "2", "3"}


def test_a_deploy_that_was_overtaken_says_so(mesh: RunningMesh, make_source: MakeSource) -> None:
    slow, quick = make_source("overtaken", **{"handler.py": SLOW_START % (3600, 0)}), VERSIONED % 1
    overtaken = threading.Barrier(2)
    told: list[str] = []

    def first() -> None:
        overtaken.wait(30)
        told.append(mesh.cli("deploy", str(slow), "--target", "process").stderr)

    asking = threading.Thread(target=first)
    asking.start()
    overtaken.wait(30)
    with Mesh(mesh.server) as client:
        eventually_sync(lambda: _serving(client, "overtaken").endswith("/1"), 30)
        second = make_source("second/overtaken", **{"handler.py": quick})
        mesh.cli("deploy", str(second), "--target", "process")
    asking.join()

    assert "Revision 1 was overtaken: revision 2 serves now." in told[0].replace("\n", " ")


@pytest.mark.parametrize("phase", ["build", "rollout"])
def test_delete_during_a_deploy(
    mesh: RunningMesh, client: Mesh, http: httpx.Client, make_source: MakeSource, phase: str
) -> None:
    name = f"deleted-in-{phase}"
    source = make_source(name, **{"handler.py": SLOW_START % (1.5, phase)})
    deploy = client.deploy(source, **PROCESS)
    if phase == "rollout":
        eventually_sync(lambda: _runs(mesh, name) == 1, 30)

    client.delete(name)

    with pytest.raises(NotFound) as told:
        deploy.wait(60)
    assert str(told.value) in (
        f"There is no function '{deploy.function.name}'; it may just have been deleted.",
        f"There is no function '{deploy.function.uid}'; it may just have been deleted.",
        f"There is no function '{deploy.function.uid}' in workspace 'default'.",
    )
    assert http.get(f"/api/{name}").status_code == 404
    eventually_sync(lambda: _runs(mesh, name) == 0, 20)
    with pytest.raises(NotFound):
        client.show(name)

    mesh.cli("deploy", str(source), "--target", "process")  # name and path are free

    assert http.get(f"/api/{name}").json() == {"version": phase}


def test_deploy_while_a_delete_cleans_up(
    mesh: RunningMesh, client: Mesh, http: httpx.Client, make_source: MakeSource
) -> None:
    old, new = _versions(make_source, "again", 2)
    before = client.deploy(str(old), **PROCESS).wait(60)

    client.delete("again")
    after = client.deploy(str(new), **PROCESS).wait(60)  # the old one's instances may be there still

    assert before.uid != after.uid
    assert after.serving_revision.endswith("/revisions/1")
    assert {http.get("/api/again").json()["version"] for _ in range(5)} == {"1"}
    eventually_sync(lambda: _runs(mesh, "again") == 1, 20)
    assert http.get("/api/again").json() == {"version": "1"}


def test_deploys_and_deletes_of_one_function_at_once(
    mesh: RunningMesh, client: Mesh, http: httpx.Client, make_source: MakeSource
) -> None:
    sources = _versions(make_source, "torn", 3)
    start = threading.Barrier(5)

    def delete() -> None:
        with Mesh(mesh.server) as own:
            start.wait(30)
            for _ in range(3):
                try:
                    own.delete("torn")
                except NotFound as error:
                    assert "There is no function 'torn'" in str(error)

    works = [lambda source=source: _deploy(mesh.server, str(source), start) for source in sources]
    for one in _at_once(*works, delete, delete):
        error = one.exception()
        assert error is None or isinstance(error, NotFound | BuildFailed | DeployFailed), error
        if isinstance(error, FnmeshError):
            assert "There is no function" in str(error) or "deleted" in str(error)

    mesh.cli("deploy", str(sources[0]), "--target", "process")
    assert http.get("/api/torn").json() == {"version": "0"}
    eventually_sync(lambda: _runs(mesh, "torn") == 1, 20)
    client.delete("torn")
    eventually_sync(lambda: _runs(mesh, "torn") == 0, 20)
    assert http.get("/api/torn").status_code == 404


def test_two_deletes_at_once(mesh: RunningMesh, client: Mesh, make_source: MakeSource) -> None:
    mesh.cli("deploy", str(make_source("twice", **{"handler.py": VERSIONED % 1})), "--target", "process")
    start = threading.Barrier(2)

    def delete() -> None:
        with Mesh(mesh.server) as own:
            start.wait(30)
            own.delete("twice")

    errors = [one.exception() for one in _at_once(delete, delete)]

    assert sorted(str(error) for error in errors) == [
        "None",
        "There is no function 'twice' in workspace 'default'.",
    ]
    eventually_sync(lambda: _runs(mesh, "twice") == 0, 20)


def _serving(client: Mesh, name: str) -> str:
    try:
        return str(client.show(name).serving_revision)
    except NotFound:
        return ""
