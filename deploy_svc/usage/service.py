"""UsageService: messages in, messages out."""

from __future__ import annotations

from typing import Any, Protocol

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from deploy_svc.convert import TARGETS
from deploy_svc.domain import Function, Target
from deploy_svc.store import Desired
from deploy_svc.usage.domain import KEPT_MINUTES, MINUTE_S, Percents, Use, averaged
from deploy_svc.usage.sampler import Sampler
from deploy_svc.usage.store import UsageStore
from fnmesh.deploy.v1 import usage_service_pb2 as pb
from fnmesh.deploy.v1 import usage_service_pb2_grpc as pb_grpc
from mesh.auth import Scope, current_principal, require_scope
from mesh.clock import Clock
from mesh.errors import InvalidArgument
from mesh.names import FUNCTION, parse

SERVICE_NAME = "fnmesh.deploy.v1.UsageService"
_LOCAL = frozenset({Target.PROCESS, Target.DOCKER, Target.SPIN})
_FROM_MESSAGE = {number: target for target, number in TARGETS.items()}
_LONGEST_S = KEPT_MINUTES * MINUTE_S


class Names(Protocol):
    """Knows functions by their resource names."""

    async def resolve(self, name: str) -> Desired:
        """The function, by identifiers or display names. Raises NotFound."""
        ...


class Functions(Protocol):
    """Knows functions by their identifiers."""

    async def function(self, uid: str) -> Function | None:
        """One that was told of and is not gone."""
        ...


class UsageServicer(pb_grpc.UsageServiceServicer):
    """fnmesh.deploy.v1.UsageService; the scope is `deploy`."""

    def __init__(self, names: Names, functions: Functions, sampler: Sampler, store: UsageStore, clock: Clock) -> None:
        self._names, self._functions = names, functions
        self._sampler, self._store, self._clock = sampler, store, clock

    async def GetFunctionUsage(self, request: pb.GetFunctionUsageRequest, context: Any) -> pb.FunctionUsage:
        uid, name = await self._resolved(request.name)
        minutes = await self._store.of_function(uid, self._oldest(_LONGEST_S))
        for one in await self._sampler.running():
            number = one.minute.number
            minutes[number] = minutes.get(number, Use()) + one.minute.functions.get(uid, Use())
        answer = self._current(uid, name)
        for number, use in sorted(minutes.items())[-KEPT_MINUTES:]:
            answer.points.append(_point(number * MINUTE_S, use))
        return answer

    async def ListFunctionUsage(
        self, request: pb.ListFunctionUsageRequest, context: Any
    ) -> pb.ListFunctionUsageResponse:
        require_scope(Scope.DEPLOY)
        workspace, function = parse(FUNCTION, request.parent, field="parent")
        if function != "-":
            message = "parent ends in /functions/-; GetFunctionUsage tells of one function."
            raise InvalidArgument("NAME_INVALID", message, fields={"parent": message})
        if workspace != "-":
            require_scope(Scope.DEPLOY, workspace)
        wanted = current_principal().workspace if workspace == "-" else workspace
        answer = pb.ListFunctionUsageResponse()
        for uid in sorted(self._sampler.now()):
            found = await self._functions.function(uid)
            if found is not None and not found.deleted and (not wanted or found.workspace == wanted):
                answer.functions.append(self._current(uid, found.name))
        return answer

    async def GetTargetUsage(self, request: pb.GetTargetUsageRequest, context: Any) -> pb.TargetUsage:
        require_scope(Scope.DEPLOY)
        target = _FROM_MESSAGE.get(request.target)
        if request.target and target is None:
            message = "This is no target."
            raise InvalidArgument("TARGET_INVALID", message, fields={"target": message})
        lookback_s = _seconds(request, "lookback", default=_LONGEST_S, least=MINUTE_S)
        period_s = _seconds(request, "period", default=MINUTE_S, least=0)
        wanted = _LOCAL if target is None else {target}
        oldest = self._oldest(lookback_s)
        stored = await self._store.of_targets(oldest)
        running = {one.target: {one.minute.number: one.percents} for one in await self._sampler.running()}
        points: dict[int, Percents] = {}
        for one in wanted:
            for number, (cpu, memory) in (dict(stored.get(one, {})) | running.get(one, {})).items():
                before = points.get(number, (0.0, 0.0))
                points[number] = (min(100.0, before[0] + cpu), min(100.0, before[1] + memory))
        answer = pb.TargetUsage()
        for number, cpu, memory in averaged(points, max(1, -int(-period_s // MINUTE_S))):
            answer.points.add(time=_time(number * MINUTE_S), cpu_percent=cpu, memory_percent=memory)
        return answer

    async def _resolved(self, name: str) -> tuple[str, str]:
        """Identifier and resource name by identifiers of a function that the caller may see."""
        require_scope(Scope.DEPLOY)
        workspace, function = parse(FUNCTION, name)
        known = await self._functions.function(function) if workspace.startswith("ws-") else None
        if known is None or known.deleted or known.name != name:
            desired = await self._names.resolve(name)
            require_scope(Scope.DEPLOY, parse(FUNCTION, desired.name)[0])
            return desired.uid, desired.name
        require_scope(Scope.DEPLOY, workspace)
        return known.uid, known.name

    def _current(self, uid: str, name: str) -> pb.FunctionUsage:
        now = self._sampler.now().get(uid)
        if now is None:
            return pb.FunctionUsage(function=name)
        return pb.FunctionUsage(function=name, instances=now.instances, current=_point(now.at_s, now.use))

    def _oldest(self, lookback_s: float) -> int:
        """The first minute of those that a time ago is within, the running one among them."""
        now = int(self._clock.now().timestamp() // MINUTE_S)
        return now - -int(-lookback_s // MINUTE_S) + 1


def _seconds(request: Any, field: str, *, default: float, least: float) -> float:
    if not request.HasField(field):
        return default
    duration: Duration = getattr(request, field)
    seconds = duration.seconds + duration.nanos / 1e9
    if not least <= seconds <= _LONGEST_S or seconds <= 0:
        shown = "1 to 60 minutes" if least else "above 0 and at most 60 minutes"
        message = f"{field} must be {shown}."
        raise InvalidArgument(f"{field.upper()}_INVALID", message, fields={field: message})
    return float(seconds)


def _point(at_s: float, use: Use) -> pb.UsagePoint:
    return pb.UsagePoint(time=_time(at_s), cpus=use.cpus, memory_bytes=use.memory_bytes)


def _time(at_s: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromMilliseconds(round(at_s * 1000))
    return stamp
