"""BuildService: messages in, messages out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

from build_svc import messages
from build_svc.creation import Acceptance, Wish
from build_svc.domain import Build, Event, StateChange
from build_svc.given_images import GivenImages
from build_svc.hints import Hints
from build_svc.ports import Registry
from build_svc.sources import Sources
from build_svc.spin_pull import SpinPull
from build_svc.store import BuildStore
from fnmesh.build.v1 import build_pb2 as builds
from fnmesh.build.v1 import build_service_pb2 as pb
from fnmesh.build.v1 import build_service_pb2_grpc as pb_grpc
from mesh import names, pages
from mesh.auth import Scope, current_principal, require_scope
from mesh.clock import Clock
from mesh.errors import InvalidArgument, NotFound, Unavailable

SERVICE_NAME = "fnmesh.build.v1.BuildService"
_EVENTS_AT_ONCE = 500
_POLL_S = 1.0
_REPORT_WAIT_S = 3.0
_CHUNK_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True)
class Parts:
    """What the servicer passes calls on to."""

    store: BuildStore
    sources: Sources
    acceptance: Acceptance
    pull: SpinPull
    given_images: GivenImages
    registry: Registry
    hints: Hints
    clock: Clock


class BuildServicer(pb_grpc.BuildServiceServicer):
    """The public service. `watch_max_age_s` bounds the life of a stream; clients go on from where it ended."""

    def __init__(self, parts: Parts, *, watch_max_age_s: float) -> None:
        self._parts = parts
        self._watch_max_age_s = watch_max_age_s

    async def UploadSource(
        self, request_iterator: AsyncIterator[pb.UploadSourceRequest], context: object
    ) -> pb.UploadSourceResponse:
        require_scope(Scope.DEPLOY)
        first = await anext(aiter(request_iterator), None)
        if first is None or first.WhichOneof("part") != "filename":
            raise InvalidArgument("SOURCE_INVALID", "The first part of an upload must be the file's name.")
        source = await self._parts.sources.upload(first.filename, _chunks(request_iterator))
        return pb.UploadSourceResponse(source_digest=source.digest, size_bytes=source.size_bytes)

    async def ImportSource(self, request: pb.ImportSourceRequest, context: object) -> pb.UploadSourceResponse:
        require_scope(Scope.DEPLOY)
        source = await self._parts.pull.fetch(request.image)
        return pb.UploadSourceResponse(source_digest=source.digest, size_bytes=source.size_bytes)

    async def ResolveImage(self, request: pb.ResolveImageRequest, context: object) -> pb.ResolveImageResponse:
        require_scope(Scope.DEPLOY)
        found = await self._parts.given_images.find(request.image, workspace=current_principal().workspace or "")
        return pb.ResolveImageResponse(
            image=found.reference, runtime=messages.RUNTIMES[found.runtime], handler=found.handler
        )

    async def GetSource(self, request: pb.GetSourceRequest, context: object) -> AsyncIterator[pb.GetSourceResponse]:
        require_scope(Scope.DEPLOY)
        names.parse(names.FUNCTION, request.function, field="function")
        function = await self._parts.registry.resolve(request.function)
        require_scope(Scope.DEPLOY, function.workspace)
        source = await self._parts.sources.find(function.source_digest)
        yield pb.GetSourceResponse(filename=source.filename)
        async for chunk in self._parts.sources.read(source):
            for start in range(0, len(chunk), _CHUNK_BYTES_MAX):
                yield pb.GetSourceResponse(chunk=chunk[start : start + _CHUNK_BYTES_MAX])

    async def CreateBuild(self, request: pb.CreateBuildRequest, context: object) -> builds.Build:
        require_scope(Scope.DEPLOY)
        names.parse(names.FUNCTION, request.parent, field="parent")
        function = await self._parts.registry.resolve(request.parent)
        require_scope(Scope.DEPLOY, function.workspace)
        image = request.build.image
        if image and (request.build.source_digest or request.build.HasField("push")):
            message = "A build is of an image or of a source, and an image is pushed nowhere; name one of them."
            raise InvalidArgument("IMAGE_INVALID", message, fields={"build.image": message})
        digest = request.build.source_digest or function.source_digest
        if not digest and not image:
            message = "build.source_digest is missing, and the function has no source yet; upload one first."
            raise InvalidArgument("SOURCE_DIGEST_MISSING", message, fields={"build.source_digest": message})
        wish = Wish(
            digest,
            request.build.deploy,
            request.request_id,
            messages.push_of(request.build),
            request.build.push.password,
            image,
        )
        build = await self._parts.acceptance.create(function, wish)
        return messages.build_message(build)

    async def GetBuild(self, request: pb.GetBuildRequest, context: object) -> builds.Build:
        return messages.build_message(await self._find(request.name))

    async def ListBuilds(self, request: pb.ListBuildsRequest, context: object) -> pb.ListBuildsResponse:
        require_scope(Scope.DEPLOY)
        workspace, function = names.parse(names.FUNCTION, request.parent, field="parent")
        size = pages.page_size(request.page_size)
        position = pages.decode_token(f"builds {request.parent}", request.page_token, (str,))
        function_uid = ""
        if function == "-":
            if workspace != "-":
                workspace = await self._parts.registry.workspace_id(workspace)
            elif request.pushed_as:  # a name that is known already: whoever asks finds it among what is theirs
                workspace = current_principal().workspace or "-"
            require_scope(Scope.DEPLOY, workspace)
        else:
            facts = await self._parts.registry.resolve(request.parent)
            require_scope(Scope.DEPLOY, facts.workspace)
            function_uid = facts.uid
        if not request.pushed_as.isprintable():  # no image has such a name, and PostgreSQL takes no NUL
            return pb.ListBuildsResponse()
        found = await self._parts.store.list(
            function_uid=function_uid,
            workspace="" if workspace == "-" else f"workspaces/{workspace}",
            limit=size + 1,
            before=str(position[0]) if position else None,
            pushed_as=request.pushed_as,
        )
        answer = pb.ListBuildsResponse(builds=[messages.build_message(one) for one in found[:size]])
        if len(found) > size:
            answer.next_page_token = pages.encode_token(f"builds {request.parent}", [found[size - 1].uid])
        return answer

    async def WatchBuild(self, request: pb.WatchBuildRequest, context: object) -> AsyncIterator[builds.BuildEvent]:
        build = await self._find(request.name)
        sequence = request.after_sequence
        if sequence < 0:
            message = "after_sequence must not be negative."
            raise InvalidArgument("SEQUENCE_INVALID", message, fields={"after_sequence": message})
        until = self._parts.clock.monotonic() + self._watch_max_age_s
        with self._parts.hints.listening(build.uid) as changed:
            while self._parts.clock.monotonic() < until:
                changed.clear()
                found = await self._parts.store.events_after(build.uid, sequence, _EVENTS_AT_ONCE)
                for event in found:
                    if _is_final(event):
                        await self._reported(build.uid, changed)
                    yield messages.event_message(event)
                    sequence = event.sequence
                    if _is_final(event):
                        return
                if not found:
                    if await self._ended_before(build.uid, sequence):
                        return
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_POLL_S):
                            await changed.wait()
        raise Unavailable("STREAM_TOO_OLD", f"The stream is old; watch again after event {sequence}.", retry_after_s=0)

    async def CancelBuild(self, request: pb.CancelBuildRequest, context: object) -> builds.Build:
        build = await self._find(request.name)
        cancelled = await self._parts.store.request_cancel(build.uid)
        self._parts.hints.cancel(build.uid)
        self._parts.hints.changed(build.uid)
        self._parts.hints.reports.set()
        return messages.build_message(cancelled or build)

    async def _find(self, name: str) -> Build:
        """The build with that name (`builds/{id}` is enough), which the caller may see."""
        require_scope(Scope.DEPLOY)
        parent, _, uid = name.rpartition("/builds/")
        if not name.startswith("builds/"):
            names.parse(names.BUILD, name)
        else:
            (uid,) = names.parse("builds/*", name)
        build = await self._parts.store.get(uid)
        missing = NotFound("BUILD_NOT_FOUND", f"There is no build '{name[:200]}'.")
        if build is None:
            raise missing
        require_scope(Scope.DEPLOY, build.function.split("/")[1])
        if (
            parent
            and parent != build.function
            and (await self._parts.registry.resolve(parent)).uid != build.function_uid
        ):
            raise missing
        return build

    async def _reported(self, uid: str, changed: asyncio.Event) -> None:
        """Wait a little until the registry knows too: who saw the end then finds the revision built."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_REPORT_WAIT_S):
                while (build := await self._parts.store.get(uid)) is not None and not build.reported:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_POLL_S / 4):
                            await changed.wait()
                    changed.clear()

    async def _ended_before(self, uid: str, sequence: int) -> bool:
        """Whether the build has no more events after this one, ever."""
        build = await self._parts.store.get(uid)
        return build is None or (build.state.final and sequence >= build.last_sequence)


def _is_final(event: Event) -> bool:
    return isinstance(event.what, StateChange) and event.what.build.state.final


async def _chunks(parts: AsyncIterator[pb.UploadSourceRequest]) -> AsyncIterator[bytes]:
    async for part in parts:
        if part.WhichOneof("part") != "chunk":
            raise InvalidArgument("SOURCE_INVALID", "An upload has one name, and after it only content.")
        if len(part.chunk) > _CHUNK_BYTES_MAX:
            raise InvalidArgument("SOURCE_INVALID", "A piece of an upload is larger than 1 MiB.")
        yield part.chunk
