"""Sources that no function can be made of: each is refused in one sentence, and nothing of it stays.

The sentences are those of docs/errors.md, section "The source".
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import httpx
import pytest

from fnmesh.build.v1 import build_pb2, build_service_pb2
from fnmesh.build.v1.build_service_pb2_grpc import BuildServiceStub
from fnmesh.client import FnmeshError, Mesh
from fnmesh.registry.v1 import function_pb2, revision_pb2
from tests.support import processes
from tests.support.archives import MIB, archive, bomb, crowd, in_pieces, mode, with_raw_name
from tests.support.contents import contents
from tests.support.empty_index import empty_index, settings_for
from tests.support.errors_page import answers
from tests.support.eventually import eventually_sync
from tests.support.running_mesh import RunningMesh
from tests.support.sources import source_maker

pytestmark = pytest.mark.usefixtures("undisturbed")

SECTION = "The source"
PACKAGE = '{"dependencies": {"no-such-thing": "1.0.0"}}'
GOOD = "def handler(event):\n    return {'version': 1}\n"
Make = Callable[[Path], Path]


@dataclass(frozen=True)
class Bad:
    """A bad source: the row of the page that tells of it, and how it is made below a directory."""

    row: str
    make: Make


def directory(**files: str) -> Make:
    return lambda parent: source_maker(parent)("bad", **files)


def zipped(content: Callable[[], bytes]) -> Make:
    def make(parent: Path) -> Path:
        file = parent / "bad.zip"
        file.write_bytes(content())
        return file

    return make


def entry(name: str, kind: int = stat.S_IFREG) -> Make:
    """A zip of a good handler and this entry."""
    return zipped(lambda: archive(("handler.py", GOOD.encode()), (name, b"/etc/passwd", mode(kind))).getvalue())


def with_raw_file_name(parent: Path) -> Path:
    root = source_maker(parent)("bad", **{"handler.py": GOOD})
    (Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9.txt"))).touch()
    return root


def linking_out(parent: Path) -> Path:
    root = source_maker(parent)("bad", **{"handler.py": GOOD})
    (root / "hosts").symlink_to("/etc/hosts")
    return root


def with_pipe(parent: Path) -> Path:
    root = source_maker(parent)("bad", **{"handler.py": GOOD})
    os.mkfifo(root / "pipe")
    return root


# Refused where they are packed: nothing is sent.
UNSENT = [
    Bad("a directory with nothing in it", directory()),
    Bad("a 0-byte `.zip`", zipped(bytes)),
    Bad("a directory with a file name that is not UTF-8", with_raw_file_name),
    Bad("a directory with a link to somewhere else", linking_out),
    Bad("a directory with a pipe, a socket or a device", with_pipe),
    Bad("a `.zip` with a million entries", zipped(lambda: crowd(1_000_000))),
]
# Refused when they were uploaded: nothing is stored.
REFUSED = [
    Bad("no file that could hold a handler", directory(**{"README.md": "# Nothing\n"})),
    Bad("a `.zip` with an entry `../evil.py`", entry("../evil.py")),
    Bad("a `.zip` with an entry `/etc/passwd`", entry("/etc/passwd")),
    Bad("a `.zip` with a link", entry("link.py", stat.S_IFLNK)),
    Bad("a `.zip` with a device file", entry("disk", stat.S_IFBLK)),
    Bad("a `.zip` with a name that is not UTF-8", zipped(lambda: with_raw_name(b"caf\xe9.txt"))),
    Bad("a `.zip` of 10 MB that unpacks to 10 GB", zipped(lambda: bomb(10 * 1024))),
]
# Accepted, and the build fails.
UNBUILDABLE = [
    Bad("a 0-byte handler.py", directory(**{"handler.py": ""})),
    Bad("no `handler` in handler.py", directory(**{"handler.py": "def hander(event):\n    return 1\n"})),
    Bad("a syntax error in Python", directory(**{"handler.py": "import os\ndef handler(event:\n    return 1\n"})),
    Bad(
        "a requirement that does not exist, for pip",
        directory(**{"handler.py": GOOD, "requirements.txt": "no-such-thing==1.0\n"}),
    ),
    Bad("a `.zip` whose file is larger than it says", zipped(lambda: bomb(1024, says_bytes=100))),
]
UNBUILDABLE_NODE = [
    Bad("a syntax error in JavaScript", directory(**{"index.mjs": "// Nothing\nexport const handler = ;\n"})),
    Bad(
        "a requirement that does not exist, for npm",
        directory(**{"index.mjs": "export const handler = () => 1;\n", "package.json": PACKAGE}),
    ),
]
# Built, and it does not come up.
UNSTARTABLE = Bad("an import error", directory(**{"handler.py": "import not_there\n\ndef handler(event): return 1\n"}))


@pytest.fixture(scope="module")
def mesh_environ() -> Iterator[Mapping[str, str]]:
    """Packages come from an index that has none; what nothing refers to is swept after a few seconds."""
    with empty_index() as index:
        yield {**settings_for(index), "FNMESH_BUILD_GC_INTERVAL_S": "1", "FNMESH_BUILD_GC_GRACE_S": "4"}


def rows(*lists: list[Bad]) -> pytest.MarkDecorator:
    cases = [bad for each in lists for bad in each]
    return pytest.mark.parametrize("bad", [pytest.param(bad, id=bad.row.replace("`", "")) for bad in cases])


def deployed(mesh: RunningMesh, source: Path, name: str) -> list[str]:
    """What a failing deploy writes to stderr, the last line without `fnmesh: `; names and addresses as in the page."""
    done = mesh.cli("deploy", str(source), "--target", "process", "--name", name, check=False)
    index = mesh.environ["NPM_CONFIG_REGISTRY"]
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.replace(f"{source.parent}/", "").replace(index, "https://packages.example/").splitlines()
    assert lines[-1].startswith("fnmesh: ")
    return [*lines[:-1], lines[-1].removeprefix("fnmesh: ")]


@rows(UNSENT, REFUSED)
def test_a_refused_source_leaves_nothing(mesh: RunningMesh, client: Mesh, tmp_path: Path, bad: Bad) -> None:
    before = contents(mesh, client)

    lines = deployed(mesh, bad.make(tmp_path), "refused")

    assert lines == [answers(SECTION)[bad.row]]
    assert contents(mesh, client).adds_nothing_to(before)


@rows(UNBUILDABLE)
def test_a_failed_build_leaves_its_record_only(
    mesh: RunningMesh, client: Mesh, http: httpx.Client, tmp_path: Path, bad: Bad
) -> None:
    _fails_to_build(mesh, client, http, tmp_path, bad)


@pytest.mark.node
@rows(UNBUILDABLE_NODE)
def test_a_failed_build_of_node_leaves_its_record_only(
    mesh: RunningMesh, client: Mesh, http: httpx.Client, tmp_path: Path, bad: Bad
) -> None:
    _fails_to_build(mesh, client, http, tmp_path, bad)


def _fails_to_build(mesh: RunningMesh, client: Mesh, http: httpx.Client, tmp_path: Path, bad: Bad) -> None:
    before = contents(mesh, client)

    last = deployed(mesh, bad.make(tmp_path), "unbuildable")[-1]

    assert last == answers(SECTION)[bad.row]
    (build,), (revision,) = client.builds("unbuildable"), client.revisions("unbuildable")
    assert build.state == build_pb2.BUILD_STATE_FAILED
    assert last == f"The build failed: {build.error}".replace(
        mesh.environ["NPM_CONFIG_REGISTRY"], "https://packages.example/"
    )
    assert (revision.state, revision.error) == (revision_pb2.REVISION_STATE_FAILED, build.error)
    assert not client.show("unbuildable").serving_revision
    assert http.get("/api/unbuildable").json()["reason"] == "NOT_DEPLOYED"
    client.delete("unbuildable")
    after = contents(mesh, client)
    assert replace(after, blobs=before.blobs) == before


def test_an_import_error_is_told_and_deleted_whole(
    mesh: RunningMesh, client: Mesh, http: httpx.Client, tmp_path: Path
) -> None:
    before = contents(mesh, client)

    last = deployed(mesh, UNSTARTABLE.make(tmp_path), "unstartable")[-1]

    assert last == answers(SECTION)[UNSTARTABLE.row]
    answer = http.get("/api/unstartable")
    assert (answer.status_code, answer.json()["reason"]) == (503, "DEPLOYMENT_FAILED")
    assert "not_there" in answer.json()["detail"]
    assert "import not_there" in mesh.cli("logs", "unstartable").stdout
    client.delete("unstartable")
    eventually_sync(lambda: contents(mesh, client).processes == before.processes, 30)
    assert contents(mesh, client).functions == before.functions


def test_what_serves_goes_on_serving(mesh: RunningMesh, client: Mesh, http: httpx.Client, tmp_path: Path) -> None:
    good = source_maker(tmp_path)("good", **{"handler.py": GOOD})
    client.deploy(good, target="process", name="standing").wait(60)
    before = client.show("standing")

    for number, bad in enumerate([REFUSED[0], REFUSED[1], UNBUILDABLE[1], UNSTARTABLE]):
        place = tmp_path / str(number)
        place.mkdir()
        with pytest.raises(FnmeshError):
            client.deploy(bad.make(place), name="standing", timeout="7s").wait(60)
        assert http.get("/api/standing").json() == {"version": 1}, bad.row
        if bad in REFUSED:
            assert client.show("standing") == before

    client.rollback("standing", 1)
    eventually_sync(lambda: client.deployment("standing").state == function_pb2.DEPLOYMENT_STATE_READY, 30)
    assert http.get("/api/standing").json() == {"version": 1}


def test_the_mesh_itself_refuses_what_no_client_held_back(mesh: RunningMesh, client: Mesh, tmp_path: Path) -> None:
    """Also in little memory: a list of a million entries is never read, and no bomb unpacked."""
    before = contents(mesh, client)
    builder = mesh.service_pid("build")
    memory = processes.reset_peak(builder)
    said = {
        bad.row: _upload(mesh, bad.make(tmp_path).read_bytes())
        for bad in [*UNSENT, *REFUSED]
        if bad.row.startswith("a `.zip`")
    }
    said["an upload of nothing at all"] = _upload(mesh, b"")
    said["an upload of more than 200 MiB"] = _upload(mesh, b"PK\x03\x04" + bytes(201 * MIB))

    page = answers(SECTION)
    crowded = "a `.zip` with a million entries"
    assert said[crowded].replace("The archive", "'bad.zip'") == page[crowded]
    assert {row: page[row] for row in said if row != crowded} == {row: said[row] for row in said if row != crowded}
    assert contents(mesh, client).adds_nothing_to(before)
    assert processes.peak_bytes(builder) - memory < 64 * MIB


def test_nothing_of_all_this_stays(mesh: RunningMesh, client: Mesh, tmp_path: Path, bystander: str) -> None:
    """Swept are sources of failed builds, of functions that are gone, and one whose function was refused."""
    with pytest.raises(FnmeshError, match="belong to the mesh"):
        client.deploy(source_maker(tmp_path)("other", **{"handler.py": "# other\n" + GOOD}), path="v1")
    for function in client.list(workspace="-"):
        if function.display_name != bystander:
            client.delete(function.name)

    def clean() -> bool:
        now = contents(mesh, client)
        assert (len(now.functions), len(now.blobs), len(now.scratch)) == (1, 2, 0), now  # the bystander's own
        return True

    eventually_sync(clean, 60)


def test_every_row_of_the_page_is_shown_here() -> None:
    lists = [*UNSENT, *REFUSED, *UNBUILDABLE, *UNBUILDABLE_NODE, UNSTARTABLE]
    uploads = {"an upload of nothing at all", "an upload of more than 200 MiB"}
    assert {bad.row for bad in lists} | uploads == set(answers(SECTION))


def _upload(mesh: RunningMesh, content: bytes) -> str:
    """What UploadSource says to this content, as any client would send it."""

    def parts() -> Iterator[build_service_pb2.UploadSourceRequest]:
        yield build_service_pb2.UploadSourceRequest(filename="source.zip")
        for piece in in_pieces(content):
            yield build_service_pb2.UploadSourceRequest(chunk=piece)

    with grpc.insecure_channel(mesh.server) as channel, pytest.raises(grpc.RpcError) as raised:
        BuildServiceStub(channel).UploadSource(parts(), timeout=60)
    return str(raised.value.details())
