"""ScriptService: messages in, messages out."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import Any, cast

from deploy_svc.ports import Exit
from deploy_svc.scripts.ports import SUFFIXES, Language, ScriptSpec, ScriptTarget
from fnmesh.internal.deploy.v1 import script_service_pb2 as pb
from fnmesh.internal.deploy.v1 import script_service_pb2_grpc as pb_grpc
from mesh.errors import FailedPrecondition, InvalidArgument, Unavailable
from mesh.logs import get_logger

log = get_logger(__name__)
SERVICE_NAME = "fnmesh.internal.deploy.v1.ScriptService"
_RUN = re.compile(r"[A-Za-z0-9-]{1,64}")


class ScriptServicer(pb_grpc.ScriptServiceServicer):
    """Runs scripts on those of the targets, by name, that are `offered`; what was left on the others is ended too.
    Nothing is begun before what a predecessor left has ended.

    `leads` raises Unavailable where another process leads: it has to be asked instead.
    """

    def __init__(
        self, targets: Mapping[str, ScriptTarget], offered: Collection[str], leads: Callable[[], None]
    ) -> None:
        self._targets = targets
        self._offered = offered
        self._leads = leads
        self._running: set[str] = set()
        self._swept: set[str] = set()
        self._sweeping = asyncio.Lock()

    async def sweep(self) -> None:
        """Ends what a predecessor left, wherever that can be asked for now."""
        for name in self._targets:
            try:
                await self._sweep(name)
            except Unavailable as error:
                log.info("scripts_not_swept", target=name, reason=error.reason)

    async def RunScript(self, request: pb.RunScriptRequest, context: Any) -> AsyncIterator[pb.RunScriptResponse]:
        self._leads()
        spec, target = _spec(request), self._targets.get(request.target)
        if target is None:
            raise InvalidArgument("TARGET_INVALID", f"There is no target '{request.target}' for scripts.")
        if request.target not in self._offered:
            raise FailedPrecondition(
                "TARGET_NOT_OFFERED",
                f"This mesh runs no scripts on the target {request.target}: give the job another target, or name "
                f"{request.target} in FNMESH_DEPLOY_LOCAL_TARGETS.",
            )
        if spec.run in self._running:
            raise InvalidArgument("RUN_REPEATED", "This run was begun already.")
        await self._sweep(request.target)
        self._running.add(spec.run)
        limit_s = request.timeout.seconds + request.timeout.nanos / 1e9
        timed_out, exit_ = False, Exit()
        try:
            async with target.running(spec) as script:
                yield pb.RunScriptResponse(started=pb.ScriptStarted(handle=script.handle))
                try:
                    async with asyncio.timeout(limit_s):
                        async for lines in script.output():
                            output = pb.ScriptOutput()
                            for line in lines:
                                one = output.lines.add(stderr=line.stderr, text=line.text)
                                one.write_time.FromDatetime(line.written_at)
                            yield pb.RunScriptResponse(output=output)
                except TimeoutError:
                    timed_out = True
                exit_ = script.exit
        finally:
            self._running.discard(spec.run)
        yield pb.RunScriptResponse(exited=_exited(exit_, timed_out))

    async def _sweep(self, target: str) -> None:
        async with self._sweeping:
            if target not in self._swept:
                await self._targets[target].sweep()
                self._swept.add(target)


def _spec(request: pb.RunScriptRequest) -> ScriptSpec:
    if not _RUN.fullmatch(request.run):
        raise InvalidArgument("RUN_INVALID", "run must be 1 to 64 letters, digits and hyphens.")
    if request.language not in SUFFIXES:
        raise InvalidArgument("LANGUAGE_INVALID", f"A script cannot be written in '{request.language}'.")
    return ScriptSpec(
        run=request.run,
        language=cast(Language, request.language),
        code=request.code,
        event=request.event,
        memory_bytes=request.memory_bytes,
        env=dict(request.env),
    )


def _exited(exit_: Exit, timed_out: bool) -> pb.ScriptExited:
    if timed_out:
        return pb.ScriptExited(timed_out=True)
    if exit_.code is not None:
        return pb.ScriptExited(code=exit_.code)
    return pb.ScriptExited(killed=exit_.sentence)
