"""Accepts builds: durable before the answer, one for each request id."""

from __future__ import annotations

from build_svc.domain import Build, BuildState, FunctionFacts, Runtime
from build_svc.hints import Hints
from build_svc.ports import Registry
from build_svc.sources import Sources
from build_svc.store import BuildStore
from build_svc.targets import DefaultTarget
from mesh import ids, telemetry
from mesh.clock import Clock
from mesh.errors import DeadlineExceeded, InvalidArgument, MeshError, Unavailable

_REQUEST_ID_MAX = 64


class Acceptance:
    """Makes a build and its revision.

    The row comes first, then the registry is asked. Where it refuses, the row goes again; where it cannot be
    reached, the row stays, so that a repeated request finds it, and a worker asks the registry again later.
    """

    def __init__(
        self,
        store: BuildStore,
        sources: Sources,
        registry: Registry,
        default_target: DefaultTarget,
        hints: Hints,
        clock: Clock,
    ) -> None:
        self._store = store
        self._sources = sources
        self._registry = registry
        self._default_target = default_target
        self._hints = hints
        self._clock = clock

    async def create(self, function: FunctionFacts, source_digest: str, *, deploy: bool, request_id: str) -> Build:
        """The build, accepted. Raises NotFound (SOURCE_NOT_FOUND), InvalidArgument, and what the registry raises."""
        if len(request_id) > _REQUEST_ID_MAX or not (request_id.isascii() and request_id.isprintable()):
            message = f"request_id has at most {_REQUEST_ID_MAX} printable ASCII characters."
            raise InvalidArgument("REQUEST_ID_INVALID", message, fields={"request_id": message})
        source = await self._sources.find(source_digest)
        draft = Build(
            uid=ids.new_sortable_id(),
            function=function.name,
            function_uid=function.uid,
            source_digest=source.digest,
            deploy=deploy,
            state=BuildState.PENDING,
            create_time=self._clock.now(),
            trace_id=telemetry.current_trace_id(),
            traceparent=telemetry.format_traceparent(telemetry.current_context()),
        )
        build, new = await self._store.create(draft, request_id)
        if build.revision:
            return build
        try:
            build = await self._accept(build, function, source.runtime)
        except (Unavailable, DeadlineExceeded):
            raise
        except MeshError:
            if new:
                await self._store.forget(build.uid)
            raise
        self._hints.work.set()
        return build

    async def _accept(self, build: Build, function: FunctionFacts, found: Runtime | None) -> Build:
        target = await self._default_target.now()
        runtime = Runtime(function.runtime) if function.runtime in set(Runtime) else found
        revision, facts = await self._registry.create_revision(build, runtime, target)
        return await self._store.accept(
            build.uid,
            revision=revision,
            runtime=facts.runtime,
            target=facts.target or target.value,
            handler=facts.handler,
        )
