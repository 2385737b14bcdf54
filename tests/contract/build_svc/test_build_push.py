"""Builds that push what they make: what is refused, and where their passwords are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from build_svc.app import MIGRATIONS
from build_svc.docker_push import DockerPush
from build_svc.domain import Build, BuildState, Push
from build_svc.oci.credentials import DockerCredentials
from build_svc.publishing import Publisher
from build_svc.scratch import Scratch
from build_svc.spin_push import SpinPush
from build_svc.store import BuildStore
from build_svc.tables import builds as build_rows
from build_svc.users import BuildUsers
from fnmesh.build.v1 import build_pb2 as builds
from fnmesh.build.v1 import build_service_pb2 as pb
from fnmesh.registry.v1 import function_pb2
from mesh import ids
from mesh.blobs import LocalBlobs
from mesh.clock import FakeClock
from mesh.db import Database
from mesh.errors import InvalidArgument
from mesh.secrets_key import load_cipher
from tests.contract.build_svc.build_world import HELLO, Client, World, lines
from tests.support.errors_page import answers

SECRET = "a-password-that-is-nowhere"
HANDLER = b"def handler(event):\n    return 1\n"


async def create(client: Client, digest: str, **push: str) -> builds.Build:
    wanted = builds.Build(source_digest=digest, push=builds.Push(**push))
    made: builds.Build = await client.stub.CreateBuild(pb.CreateBuildRequest(parent=HELLO, build=wanted))
    return made


@pytest.mark.parametrize(
    ("push", "reason", "field"),
    [
        ({"repository": ""}, "REPOSITORY_INVALID", "repository"),
        ({"repository": "a b/c"}, "REPOSITORY_INVALID", "repository"),
        ({"repository": "ghcr.io/app", "tag": "no tag"}, "REPOSITORY_INVALID", "repository"),
        ({"repository": "http://ghcr.io/app"}, "REPOSITORY_INVALID", "repository"),
        ({"repository": "https://me:pw@ghcr.io/app"}, "REPOSITORY_INVALID", "repository"),
        ({"repository": "ghcr.io/app", "password": "x"}, "CREDENTIALS_INVALID", "username"),
        ({"repository": "ghcr.io/app", "username": "a:b"}, "CREDENTIALS_INVALID", "username"),
        ({"repository": "ghcr.io/app", "username": "a", "password": "x" * 16385}, "CREDENTIALS_INVALID", "password"),
    ],
)
async def test_what_can_never_be_pushed_is_refused_at_once(
    client: Client, push: dict[str, str], reason: str, field: str
) -> None:
    digest = await client.upload("handler.py", HANDLER)

    with pytest.raises(InvalidArgument) as caught:
        await create(client, digest, **push)

    assert (caught.value.reason, list(caught.value.fields)) == (reason, [f"build.push.{field}"])
    assert "pw" not in caught.value.message


async def test_a_build_for_processes_is_not_begun_where_it_is_to_be_pushed(world: World, client: Client) -> None:
    world.registry.functions["hello"].target = function_pb2.TARGET_PROCESS
    digest = await client.upload("handler.py", HANDLER)

    made = await create(client, digest, repository="127.0.0.1:1/app", username="me", password=SECRET)
    build, events = await client.ended(made.name)

    assert build.error == answers("Pushing to a registry")["a function of the target process"]
    assert (made.push.repository, made.push.username, made.push.password) == ("127.0.0.1:1/app", "me", "")
    assert build.push == made.push
    assert SECRET not in str(events) + "".join(lines(events))
    database = Path(world.environ["FNMESH_DATA_DIR"]) / "db"
    assert not [file for file in database.iterdir() if SECRET.encode() in file.read_bytes()]
    listed = await client.stub.ListBuilds(pb.ListBuildsRequest(parent=HELLO, pushed_as="127.0.0.1:1/app:1234abcd"))
    assert not listed.builds  # it was never pushed


class Rows:
    """A store, and a publisher with the key of a file."""

    def __init__(self, database: Database, root: Path) -> None:
        self.database = database
        self.store = BuildStore(database, FakeClock())
        self.publisher = Publisher(
            self.store,
            load_cipher(root / "secrets.key"),
            DockerCredentials({}),
            SpinPush(LocalBlobs(root / "blobs"), Scratch(root, BuildUsers(190_000))),
            DockerPush(None),  # type: ignore[arg-type]  # no daemon is asked
        )

    async def created(self) -> Build:
        build = Build(ids.new_sortable_id(), "workspaces/w/functions/f", "fn-f", "sha256:" + "a" * 64, False,
                      BuildState.PENDING, FakeClock().now(), push=Push("127.0.0.1:1/app", username="me"))  # fmt: skip
        made, _ = await self.store.create(build, "", self.publisher.sealed(build.uid, SECRET))
        return await self.store.accept(made.uid, revision="r/1", runtime="spin", target="spin", handler="handler")

    async def stored(self, uid: str) -> bytes | None:
        async with self.database.read() as conn:
            query = sa.select(build_rows.c.push_password).where(build_rows.c.uid == uid)
            found: bytes | None = (await conn.execute(query)).scalar_one()
        return found


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url, schema="build")
    await opened.migrate(MIGRATIONS)
    try:
        yield opened
    finally:
        await opened.close()


async def test_a_password_outlives_its_builder_and_ends_with_its_build(database: Database, tmp_path: Path) -> None:
    first = Rows(database, tmp_path)
    done, cancelled = await first.created(), await first.created()
    stored = await first.stored(done.uid)
    assert stored is not None
    assert SECRET.encode() not in stored

    other = Rows(database, tmp_path)  # another process, after the first was killed
    claimed = await other.store.claim("mine", lease_s=10, accept_s=30)
    assert claimed is not None
    assert claimed.push == Push("127.0.0.1:1/app", username="me")
    assert claimed.uid == done.uid
    assert await other.publisher.password(claimed) == SECRET
    pushed = Push("127.0.0.1:1/app", username="me", image="127.0.0.1:1/app:1234abcd", digest="sha256:" + "b" * 64)
    await other.store.finish(done.uid, "mine", BuildState.DONE, push=pushed)
    await other.store.request_cancel(cancelled.uid)

    assert await other.stored(done.uid) is None
    assert await other.stored(cancelled.uid) is None
    for name in ("127.0.0.1:1/app:1234abcd", "127.0.0.1:1/app@sha256:" + "b" * 64):
        (found,) = await other.store.list(function_uid="", workspace="", limit=9, before=None, pushed_as=name)
        assert (found.uid, found.push) == (done.uid, pushed)
    for name in ("127.0.0.1:1/app:1234abce", "127.0.0.1:1/ap@sha256:" + "b" * 64, "127.0.0.1:1/%"):
        assert not await other.store.list(function_uid="", workspace="", limit=9, before=None, pushed_as=name)
