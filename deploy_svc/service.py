"""DeployService: what runs, as people and programs see it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol

from deploy_svc.clusters import ClusterHealth
from deploy_svc.convert import TARGETS, from_function, from_line
from deploy_svc.domain import Function, Target, Workload
from deploy_svc.line_filters import to_line_filter
from deploy_svc.log_store import LogStore
from deploy_svc.ports import Driver, TargetHealth
from deploy_svc.settings import DeploySettings
from deploy_svc.store import Desired, Store
from deploy_svc.wakes import Wakes
from fnmesh.deploy.v1 import deploy_service_pb2 as service_pb
from fnmesh.deploy.v1 import deploy_service_pb2_grpc as service_grpc
from fnmesh.deploy.v1 import deployment_pb2 as pb
from mesh.auth import Scope, require_scope
from mesh.clock import Clock
from mesh.errors import InvalidArgument, NotFound, Unavailable
from mesh.names import DEPLOYMENT, FUNCTION, format_name, parse

_TAIL_DEFAULT, _TAIL_MAX = 1000, 10_000
_PAGE_LINES = 500
_RECHECK_S = 5.0  # wake-ups are hints: look now and then without one
_REPORT_S = 2.0  # how long a change waits for the registry to show it


class Functions(Protocol):
    """Knows functions by their resource names, and what their revisions need."""

    async def resolve(self, name: str) -> Desired:
        """The function, by identifiers or display names. Raises NotFound."""
        ...

    async def workload(self, function_uid: str, revision: int) -> Workload:
        """What an instance of the revision needs. Raises NotFound, FailedPrecondition."""
        ...


class DeployServicer(service_grpc.DeployServiceServicer):
    """Answers from the tables; the scope is `deploy`."""

    def __init__(
        self,
        store: Store,
        logs: LogStore,
        names: Functions,
        drivers: Mapping[Target, Driver],
        clusters: ClusterHealth,
        settings: DeploySettings,
        changes: Wakes,
        lines: Wakes,
        clock: Clock,
        requeue: Callable[[str], None],
        *,
        stream_age_s: float = 3600.0,
    ) -> None:
        self._store, self._logs, self._names = store, logs, names
        self._drivers, self._clusters, self._settings = drivers, clusters, settings
        self._changes, self._lines = changes, lines
        self._clock = clock
        self._requeue = requeue
        self._stream_age_s = stream_age_s

    async def GetDeployment(self, request: service_pb.GetDeploymentRequest, context: Any) -> pb.Deployment:
        """One deployment."""
        function = await self._function(_of_deployment(request.name))
        return from_function(function, await self._store.instances_of(function.uid))

    async def WatchDeployment(
        self, request: service_pb.WatchDeploymentRequest, context: Any
    ) -> AsyncIterator[pb.Deployment]:
        """The deployment now, then after each change.

        A change is told once the registry shows it too: who hears that a function is ready may look there next. It is
        not held back for long where the registry is away.
        """
        uid = (await self._function(_of_deployment(request.name))).uid
        sent = -1
        held_until: float | None = None
        ends = self._age()
        with self._changes.listening() as wake:
            while True:
                wake.clear()
                function = await self._known(uid)
                now = self._clock.monotonic()
                if function.deployment_version != sent:
                    held_until = held_until or now + _REPORT_S
                    if function.is_reported or now >= held_until:
                        sent, held_until = function.deployment_version, None
                        yield from_function(function, await self._store.instances_of(uid))
                await self._woken(wake, ends, _RECHECK_S if held_until is None else held_until - now)

    async def ReadLogs(self, request: service_pb.ReadLogsRequest, context: Any) -> AsyncIterator[pb.LogEntry]:
        """Lines that are there, and with `follow` those that come."""
        if request.tail < 0 or request.tail > _TAIL_MAX:
            message = f"tail is between 0 and {_TAIL_MAX:,}."
            raise InvalidArgument("TAIL_INVALID", message, fields={"tail": message})
        only = to_line_filter(request)
        function = await self._function(request.parent, field="parent")
        uid = function.uid
        ends = self._age()
        with self._lines.listening() as wake:
            if request.after_sequence:
                last = request.after_sequence
            else:
                last = await self._logs.last_sequence(uid)
                for line in await self._logs.tail(uid, request.tail or _TAIL_DEFAULT, only=only):
                    last = max(last, line.sequence)
                    yield from_line(line)
            while True:
                wake.clear()
                lines = await self._logs.after(uid, last, limit=_PAGE_LINES, only=only)
                for line in lines:
                    last = line.sequence
                    yield from_line(line)
                if len(lines) == _PAGE_LINES:
                    continue
                if not request.follow:
                    return
                await self._woken(wake, ends)
                if not lines and await self._store.function(uid) is None:
                    raise _gone(function.name)

    async def ListTargets(self, request: service_pb.ListTargetsRequest, context: Any) -> service_pb.ListTargetsResponse:
        """All targets; the default is Docker where its daemon answers."""
        require_scope(Scope.DEPLOY)
        offered = self._settings.local_targets
        default = next((one for one in (Target.PROCESS, Target.DOCKER) if one in offered), Target.KUBERNETES)
        answer = service_pb.ListTargetsResponse(default_target=TARGETS[default])
        for target in Target:
            health = await self._health(target)
            told = answer.targets.add(target=TARGETS[target], available=health.available, message=health.message)
            if target is Target.KUBERNETES:
                told.contexts.extend(self._clusters.contexts)
            if target is Target.DOCKER and health.available:
                answer.default_target = TARGETS[Target.DOCKER]
        return answer

    async def _health(self, target: Target) -> TargetHealth:
        if target is Target.KUBERNETES:
            return await self._clusters.check()
        return await self._drivers[target].check()

    async def RenderManifests(
        self, request: service_pb.RenderManifestsRequest, context: Any
    ) -> service_pb.RenderManifestsResponse:
        """The objects of a function; what the request cannot say is taken of its revision, where there is one."""
        require_scope(Scope.DEPLOY)
        known = None
        if request.function.uid and request.revision:
            function = await self._store.function(request.function.uid)
            if function is None:
                raise _gone(request.function.uid)
            require_scope(Scope.DEPLOY, function.workspace)
            known = await self._names.workload(function.uid, request.revision)
        from deploy_svc.kubernetes.rendering import rendered  # few ask for manifests, and YAML is not small

        found = rendered(request, known, self._settings)
        if request.ask_cluster:
            await self._clusters.ask(found.place.context, found.place.namespace, found.objects)
        return found.answer

    async def _function(self, name: str, *, field: str = "name") -> Function:
        """The function; what the registry tells of it is taken over on the way, so nothing older is answered."""
        require_scope(Scope.DEPLOY)
        workspace, function = parse(FUNCTION, name, field=field)
        if workspace.startswith("ws-") and function.startswith("fn-"):
            known = await self._store.function(function)
            if known is not None and known.name == name:
                require_scope(Scope.DEPLOY, workspace)
                return _there(known)
        desired = await self._names.resolve(name)
        require_scope(Scope.DEPLOY, parse(FUNCTION, desired.name)[0])
        if await self._store.apply(desired, self._clock.now()):
            self._requeue(desired.uid)
        found = await self._store.function(desired.uid)
        if found is None:
            raise _gone(name)
        return _there(found)

    async def _known(self, uid: str) -> Function:
        function = await self._store.function(uid)
        if function is None:
            raise _gone(uid)
        return _there(function)

    def _age(self) -> float:
        spread = random.uniform(0.9, 1.1)  # noqa: S311 -- spreads reconnects, guards nothing
        return self._clock.monotonic() + self._stream_age_s * spread

    async def _woken(self, wake: asyncio.Event, ends: float, recheck_s: float = _RECHECK_S) -> None:
        left = ends - self._clock.monotonic()
        if left <= 0:
            raise Unavailable("STREAM_AGED", "The stream has reached its age; call again.", retry_after_s=0)
        try:
            async with asyncio.timeout(min(left, recheck_s)):
                await wake.wait()
        except TimeoutError:
            return


def _of_deployment(name: str) -> str:
    return format_name(FUNCTION, *parse(DEPLOYMENT, name))


def _there(function: Function) -> Function:
    """The function, unless it is being deleted."""
    if function.deleted:
        raise _gone(function.name)
    return function


def _gone(name: str) -> NotFound:
    return NotFound("FUNCTION_NOT_FOUND", f"There is no function '{name}'; it may just have been deleted.")
