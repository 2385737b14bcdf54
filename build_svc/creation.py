"""Accepts builds: durable before the answer, one for each request id."""

from __future__ import annotations

from dataclasses import dataclass, field

from build_svc.cluster_repository import ClusterRepository
from build_svc.domain import IMAGE_TARGET, Build, BuildState, FunctionFacts, Push, Runtime, Target, runtime_for
from build_svc.given_images import GivenImages
from build_svc.hints import Hints
from build_svc.ports import Registry
from build_svc.publishing import Publisher
from build_svc.sources import Sources
from build_svc.store import BuildStore
from build_svc.targets import Targets
from mesh import ids, telemetry
from mesh.auth import current_principal
from mesh.clock import Clock
from mesh.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, MeshError, Unavailable

_REQUEST_ID_MAX = 64


@dataclass(frozen=True)
class Wish:
    """A build that somebody asks for."""

    source_digest: str
    deploy: bool
    request_id: str = ""
    push: Push | None = None
    push_password: str = field(default="", repr=False)
    image: str = ""
    """Run this instead of building the source."""


@dataclass(frozen=True)
class ForClusters:
    """Where clusters pull from what is built for them, and the images that they run as they are."""

    repository: ClusterRepository
    images: GivenImages


@dataclass(frozen=True)
class _MadeOf:
    source_digest: str
    runtime: Runtime | None
    image: str = ""


class Acceptance:
    """Makes a build and its revision.

    The row comes first, then the registry is asked. Where it refuses, the row goes again; where it cannot be
    reached, the row stays, so that a repeated request finds it, and a worker asks the registry again later (and cancels
    it, if a newer build is to be deployed by then).
    """

    def __init__(
        self,
        store: BuildStore,
        sources: Sources,
        registry: Registry,
        targets: Targets,
        publisher: Publisher,
        clusters: ForClusters,
        hints: Hints,
        clock: Clock,
    ) -> None:
        self._store = store
        self._sources = sources
        self._registry = registry
        self._targets = targets
        self._publisher = publisher
        self._clusters = clusters
        self._hints = hints
        self._clock = clock

    async def create(self, function: FunctionFacts, wish: Wish) -> Build:
        """The build, accepted. Raises NotFound (SOURCE_NOT_FOUND), InvalidArgument, FailedPrecondition
        (CLUSTER_REPOSITORY_NOT_SET, IMAGE_TARGET_INVALID, TARGET_NOT_OFFERED), what the registry raises, and
        `GivenImages.find`.
        """
        request_id = wish.request_id
        if len(request_id) > _REQUEST_ID_MAX or not (request_id.isascii() and request_id.isprintable()):
            message = f"request_id has at most {_REQUEST_ID_MAX} printable ASCII characters."
            raise InvalidArgument("REQUEST_ID_INVALID", message, fields={"request_id": message})
        if wish.push is not None:
            self._publisher.check(wish.push, wish.push_password)
        made_of = await self._made_of(function, wish)
        draft = Build(
            uid=ids.new_sortable_id(),
            function=function.name,
            function_uid=function.uid,
            source_digest=made_of.source_digest,
            deploy=wish.deploy,
            push=wish.push,
            image=made_of.image,
            state=BuildState.PENDING,
            runtime=made_of.runtime or "",
            create_time=self._clock.now(),
            trace_id=telemetry.current_trace_id(),
            traceparent=telemetry.format_traceparent(telemetry.current_context()),
        )
        password = self._publisher.sealed(draft.uid, wish.push_password)
        build, new = await self._store.create(draft, request_id, password)
        if build.revision:
            return build
        try:
            build = await self._accept(build, made_of.runtime)
        except (Unavailable, DeadlineExceeded):
            raise
        except MeshError:
            if new:
                await self._store.forget(build.uid)
            raise
        self._hints.work.set()
        return build

    async def _made_of(self, function: FunctionFacts, wish: Wish) -> _MadeOf:
        if wish.image:
            if function.target != Target.KUBERNETES:
                raise FailedPrecondition("IMAGE_TARGET_INVALID", IMAGE_TARGET)
            given = await self._clusters.images.find(wish.image, workspace=current_principal().workspace or "")
            return _MadeOf("", given.runtime, given.reference)
        self._targets.check(function.target)
        source = await self._sources.find(wish.source_digest)
        if function.target == Target.KUBERNETES and (wish.deploy or wish.push is None):
            self._clusters.repository.check()
        return _MadeOf(source.digest, runtime_for(function, source.runtime))

    async def _accept(self, build: Build, runtime: Runtime | None) -> Build:
        target = await self._targets.default(runtime)
        revision, facts = await self._registry.create_revision(build, runtime, target)
        return await self._store.accept(
            build.uid,
            revision=revision,
            runtime=facts.runtime,
            target=facts.target or target.value,
            handler=facts.handler,
        )
