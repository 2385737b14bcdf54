"""Clients that change things: each owns what it changes, does one thing after the other, and writes down what it was
told.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fnmesh.client import AsyncMesh, BuildFailed, DeployFailed, NotFound
from fnmesh.client.deploying import AsyncDeploy
from fnmesh.client.errors import Aborted, DeadlineExceeded, RpcFailed, Unavailable
from tests.chaos.ledger import CONTROL, Key, Ledger, Story
from tests.integration.build_svc import slow_library

NO_ANSWER = (Unavailable, DeadlineExceeded, Aborted)
"""What leaves it open whether the call was done."""
_ENDS_WITHIN_S = 60.0
_PAUSE_S = 0.05

HANDLER = """
import os, time
%(imports)s
def handler(event, context):
    asked = event.get("queryStringParameters") or event
    time.sleep(float(asked.get("s", 0)))
    return {"edition": %(edition)d, "greeting": os.environ.get("GREETING", ""), "n": asked.get("n", "")}
"""
BROKEN = "def handler(event:\n    return 1\n"


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is special about a source: `broken` cannot be built, `imports` are lines that run when it starts,
    `slow_library_s` is how long its library takes to install.
    """

    broken: bool = False
    imports: str = ""
    ballast_bytes: int = 0
    slow_library_s: float = 0

    def write(self, root: Path, edition: int) -> Path:
        """Its files: the handler waits `s` seconds, and answers its edition and the nonce `n`."""
        files = slow_library.source(f"time.sleep({self.slow_library_s})  # {edition}") if self.slow_library_s else {}
        files["handler.py"] = BROKEN if self.broken else HANDLER % {"edition": edition, "imports": self.imports}
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(f"{text}# {edition}\n" if name.endswith(".py") else text)
        if self.ballast_bytes:
            (root / "ballast.bin").write_bytes(random.Random(edition).randbytes(self.ballast_bytes))
        return root


PLAIN = Source()


class Author:
    """Owns one function and changes it. Everything is sent once; the story says what may have come of it."""

    def __init__(self, client: AsyncMesh, ledger: Ledger, name: str, *, target: str = "process") -> None:
        self._client = client
        self._ledger = ledger
        self._target = target
        self.story: Story = ledger.story(ledger.prefix + name)
        self._sources = Path(tempfile.mkdtemp(prefix="fnm-chaos-src-"))

    def close(self) -> None:
        """Removes the sources."""
        shutil.rmtree(self._sources, ignore_errors=True)

    async def deploy(self, source: Source = PLAIN) -> bool:
        """A new edition; whether all went as it should."""
        deploy = await self.begin_deploy(source)
        return deploy is not None and await self.await_deploy(deploy, source)

    async def begin_deploy(self, source: Source = PLAIN) -> AsyncDeploy | None:
        """Sends a new edition; returns once the build is accepted, or None if it was not."""
        story, edition = self.story, next(self._ledger.numbers)
        root = source.write(self._sources / str(edition), edition)
        if not source.broken:
            story.asked_for(edition)
        if not story.exists:
            story.exists = None
        async with self._told(f"deploy edition {edition} of {story.name}") as outcome:
            deploy = await self._client.deploy(root, name=story.name, target=self._target)
            story.created(deploy.function.uid)
            story.accepted(edition, deploy.build.name, broken=source.broken)
            outcome.append(deploy)
        return outcome[0] if outcome else None

    async def await_deploy(self, deploy: AsyncDeploy, source: Source = PLAIN) -> bool:
        """Waits for its end; whether it was the right one."""
        story, build, good = self.story, deploy.build.name, False
        async with self._told(f"wait for {build} of {story.name}"):
            try:
                await deploy.wait(_ENDS_WITHIN_S)
            except BuildFailed as error:
                story.ended[build] = "FAILED"
                good = source.broken
                if not good:
                    self._wrong(f"{build} of {story.name}", f"a good source was not built: {error}")
            else:
                story.ended[build] = "DONE"
                story.revisions.add(deploy.revision)
                good = True
        return good

    async def greet(self) -> None:
        """Sets another env value: a revision without a build."""
        story, greeting = self.story, f"greeting-{next(self._ledger.numbers)}"
        story.maybe_greetings.add(greeting)
        async with self._told(f"set {greeting} of {story.name}"):
            function = await self._client.env_set(story.name, {"GREETING": greeting})
            story.created(function.uid)
            story.greeted(greeting)
            if function.serving_revision:
                story.revisions.add(int(function.serving_revision.rpartition("/")[2]))

    async def delete(self) -> None:
        """Deletes the function."""
        story = self.story
        was_there, story.exists = story.exists, None
        async with self._told(f"delete {story.name}"):
            try:
                await self._client.delete(story.name)
            except NotFound:
                if was_there:
                    raise
            story.deleted()

    @asynccontextmanager
    async def _told(self, what: str) -> AsyncIterator[list[AsyncDeploy]]:
        """Writes down how a call ended that was not answered as it should have been."""
        began = self._ledger.now()
        try:
            yield []
        except NO_ANSWER as error:
            self._ledger.failed(CONTROL, what, f"{error.code.name} {error}", began)
        except NotFound as error:
            if self.story.exists:
                self._wrong(what, f"NOT_FOUND {error}")
        except RpcFailed as error:
            self._wrong(what, f"{error.code.name} {error}")
        except (DeployFailed, TimeoutError) as error:
            self._wrong(what, str(error) or f"not done after {_ENDS_WITHIN_S:g} s")
        else:
            self._ledger.answered[CONTROL] += 1

    def _wrong(self, what: str, how: str) -> None:
        self._ledger.failed(CONTROL, what, how, self._ledger.now(), excusable=False)


class KeyMaker:
    """Makes keys and revokes some."""

    def __init__(self, client: AsyncMesh, ledger: Ledger) -> None:
        self._client = client
        self._ledger = ledger

    async def make(self, revoke: bool) -> None:
        """A key; revoked again, if so wanted."""
        began = self._ledger.now()
        try:
            made = await self._client.create_key(["invoke"], display_name=f"chaos {next(self._ledger.numbers)}")
            key = Key(made.api_key.name.rpartition("/")[2])
            self._ledger.keys[key.key_id] = key
            if revoke:
                key.revoked = None
                await self._client.revoke_key(key.key_id)
                key.revoked = True
        except NO_ANSWER as error:
            self._ledger.failed(CONTROL, "make a key", f"{error.code.name} {error}", began)
        except RpcFailed as error:
            self._ledger.failed(CONTROL, "make a key", f"{error.code.name} {error}", began, excusable=False)
        else:
            self._ledger.answered[CONTROL] += 1


async def keep_changing(
    author: Author, rng: random.Random, stop: asyncio.Event, *, deletes: bool, pause_s: float = _PAUSE_S
) -> None:
    """Changes the author's function in every way until told to stop; a change that was begun is finished."""
    changes: list[tuple[Callable[[], Awaitable[object]], int]] = [
        (author.deploy, 6),
        (lambda: author.deploy(Source(broken=True)), 1),
        (author.greet, 2),
    ]
    if deletes:
        changes.append((author.delete, 2))
    while not stop.is_set():
        new = not author.story.edition
        change = author.deploy if new else rng.choices([c for c, _ in changes], [weight for _, weight in changes])[0]
        await change()
        await asyncio.sleep(pause_s)


async def keep_making_keys(maker: KeyMaker, rng: random.Random, stop: asyncio.Event) -> None:
    """Makes keys until told to stop."""
    while not stop.is_set():
        await maker.make(revoke=rng.random() < 0.5)
        await asyncio.sleep(4 * _PAUSE_S)
