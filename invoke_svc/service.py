"""InvokeService: direct invokes, and the records of runs."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from google.protobuf import duration_pb2
from opentelemetry.trace import Span

from fnmesh.internal.registry.v1 import registry_internal_service_pb2 as registry_pb
from fnmesh.internal.registry.v1 import registry_internal_service_pb2_grpc as registry_grpc
from fnmesh.invoke.v1 import invoke_pb2, invoke_service_pb2_grpc
from fnmesh.invoke.v1 import invoke_service_pb2 as pb
from invoke_svc.bodies import kept
from invoke_svc.domain import CLIENT_GONE, NotDeployed, PayloadTooLarge, Route, Run, Trigger, function_unknown
from invoke_svc.elsewhere import Elsewhere, headers_of
from invoke_svc.exchange import Dispatcher, Exchange, Upload
from invoke_svc.http_head import RequestHead, answer_headers
from invoke_svc.identity import new_run_uid, new_trace
from invoke_svc.ports import ExecutionStore
from invoke_svc.registry_watch import RegistryWatch
from invoke_svc.routes import RouteTable
from invoke_svc.service_http import Recorder
from mesh import deadline, names, pages, telemetry
from mesh.auth import Scope, current_principal, require_any, require_scope
from mesh.errors import InvalidArgument, MeshError, NotFound, ResourceExhausted

PIECE_BYTES = 1024 * 1024
DIRECT_TARGET = "/.fnmesh/invoke"
_WITH_BODIES = 200  # of them on a page: together they are far below what a message may have


@dataclass(frozen=True)
class DirectLimits:
    """Largest payload, and largest answer of a unary call, in bytes."""

    payload_bytes: int
    answer_bytes: int
    body_bytes_kept: int = 0
    """How much of both is kept with the record of a run."""


class RunFailed(Exception):
    """A function did not answer a job: the record of the run, and why."""

    def __init__(self, run: Run, error: MeshError) -> None:
        super().__init__(error.message)
        self.run = run
        self.error = error


class InvokeService(invoke_service_pb2_grpc.InvokeServiceServicer):
    """Proto in, proto out; see the .proto files for what each call means."""

    def __init__(
        self,
        routes: RouteTable,
        watch: RegistryWatch,
        registry: registry_grpc.RegistryInternalServiceAsyncStub,
        dispatcher: Dispatcher,
        recorder: Recorder,
        store: ExecutionStore,
        limits: DirectLimits,
    ) -> None:
        self._routes = routes
        self._watch = watch
        self._registry = registry
        self._dispatcher = dispatcher
        self._recorder = recorder
        self._store = store
        self._limits = limits
        self._elsewhere = Elsewhere(limits.answer_bytes)

    async def Invoke(self, request: pb.InvokeRequest, context: Any) -> pb.InvokeResponse:
        route = await self._callable(request.name, or_elsewhere=True)
        if len(request.payload) > self._limits.payload_bytes:
            raise PayloadTooLarge(self._limits.payload_bytes)
        limit_s = _limit_s(route, request)
        payload = request.payload or b"{}"
        with self._recorded(route) as run, _span(route):
            run.request_body = kept(payload, self._limits.body_bytes_kept)
            if route.revision:
                exchange, body = await self._call(route, run, request.payload, limit_s, None)
                headers = answer_headers(exchange.connection.headers)
            else:
                run.request_bytes = len(request.payload)
                found = await self._elsewhere.call(route.invocation_url, payload, limit_s, run)
                body, headers = found.body, headers_of(found)
            run.response_body = kept(body, self._limits.body_bytes_kept)
        answer = self._answer(run, headers)
        answer.payload = body
        return answer

    async def run_job(
        self, route: Route, payload: bytes, limit_s: float, head: RequestHead | None = None
    ) -> tuple[Run, bytes]:
        """Runs a function for a job, as Invoke does: the record of the run, and the body of its answer.

        `head` is the request to send, of a direct invoke where not given. What kept the function from answering is
        raised as a RunFailed.
        """
        with _span(route):
            failed: MeshError
            try:
                with self._recorded(route, Trigger.JOB) as run:
                    _, body = await self._call(route, run, payload, limit_s, head)
                return run, body
            except MeshError as error:
                failed = error
        raise RunFailed(run, failed)

    async def _call(
        self, route: Route, run: Run, payload: bytes, limit_s: float, head: RequestHead | None
    ) -> tuple[Exchange, bytes]:
        run.request_bytes = len(payload)
        if head is None:
            head, payload = _head(route), payload or b"{}"
        data = head.encode(_extra(run, limit_s, head.content_type), len(payload)) + payload
        exchange = await self._begin(route, run, data, limit_s, None)
        try:
            return exchange, await self._whole(exchange, run)
        finally:
            self._dispatcher.end(route, exchange)

    async def InvokeStream(  # type: ignore[override]  # writes by itself, see below
        self, request_iterator: AsyncIterator[pb.InvokeStreamRequest], context: Any
    ) -> None:
        # No generator: a caller who goes away has to be felt here at once, not when a generator is collected.
        parts = aiter(request_iterator)
        first = await anext(parts, None)
        if first is None or first.WhichOneof("part") != "start":
            raise InvalidArgument("START_MISSING", "The first message of InvokeStream must be `start`.")
        start = first.start
        route = await self._callable(start.name)
        with self._recorded(route) as run, _span(route):
            limit_s = _limit_s(route, start)
            upload = Upload(_payload(start.payload, parts), self._limits.payload_bytes, run)
            data = _head(route).encode(_extra(run, limit_s), None)
            async with _moving(upload):
                exchange = await self._begin(route, run, data, limit_s, upload)
                try:
                    head = self._answer(run, answer_headers(exchange.connection.headers))
                    await context.write(pb.InvokeStreamResponse(head=head))
                    while piece := await exchange.connection.read():
                        run.response_bytes += len(piece)
                        for at in range(0, len(piece), PIECE_BYTES):
                            await context.write(pb.InvokeStreamResponse(chunk=piece[at : at + PIECE_BYTES]))
                finally:
                    self._dispatcher.end(route, exchange)
        await context.write(pb.InvokeStreamResponse(end=self._answer(run)))

    async def GetExecution(self, request: pb.GetExecutionRequest, context: Any) -> invoke_pb2.Execution:
        workspace, function, uid = names.parse(names.EXECUTION, request.name)
        route = await self._readable(workspace, function)
        run = await self._store.get(route.uid, uid)
        if run is None:
            raise NotFound("EXECUTION_NOT_FOUND", f"There is no execution '{uid}' of this function (any more).")
        return to_execution(route, run)

    async def ListExecutions(self, request: pb.ListExecutionsRequest, context: Any) -> pb.ListExecutionsResponse:
        workspace, function = names.parse(names.FUNCTION, request.parent, field="parent")
        route = await self._readable(workspace, function)
        most = _WITH_BODIES if request.with_bodies else pages.MAX_PAGE_SIZE
        size = pages.page_size(request.page_size, maximum=most)
        query = f"executions {route.uid}"
        position = pages.decode_token(query, request.page_token, (str,))
        before = str(position[0]) if position else None
        runs = await self._store.newest(route.uid, size + 1, before, bodies=request.with_bodies)
        more = len(runs) > size
        runs = runs[:size]
        return pb.ListExecutionsResponse(
            executions=[to_execution(route, run) for run in runs],
            next_page_token=pages.encode_token(query, [runs[-1].uid]) if more else "",
        )

    # --- functions ---

    async def find_callable(self, name: str) -> Route:
        """The function of a resource name, deployed, for a caller who may invoke it."""
        return await self._callable(name)

    async def _callable(self, name: str, *, or_elsewhere: bool = False) -> Route:
        workspace, function = names.parse(names.FUNCTION, name)
        require_scope(Scope.INVOKE)
        route = await self._find(workspace, function)
        require_scope(Scope.INVOKE, route.workspace)
        if not route.revision and not (or_elsewhere and route.invocation_url):
            raise NotDeployed
        return route

    async def _readable(self, workspace: str, function: str) -> Route:
        route = await self._find(workspace, function)
        require_any(current_principal(), (Scope.DEPLOY, Scope.INVOKE), route.workspace)
        return route

    async def _find(self, workspace: str, function: str) -> Route:
        """The function by its name; one that the watch has not brought yet is asked for."""
        route = self._routes.named(workspace, function)
        if route is None or not route.revision:
            name = names.format_name(names.FUNCTION, workspace, function)
            snapshot = await self._registry.ResolveFunction(registry_pb.ResolveFunctionRequest(name=name))
            route = self._watch.learn(snapshot)
        if route is None:
            raise function_unknown(f"'{function}' in workspace '{workspace}'")
        return route

    # --- runs ---

    @contextlib.contextmanager
    def _recorded(self, route: Route, trigger: Trigger = Trigger.DIRECT) -> Iterator[Run]:
        now, began = time.time(), time.perf_counter()
        run = Run(uid=new_run_uid(now), trigger=trigger, started=now, trace_id=telemetry.current_trace_id())
        run.function_uid, run.function_name, run.revision = route.uid, route.name, route.revision
        if not run.trace_id:
            run.trace_id, _ = new_trace()
        try:
            yield run
        except MeshError as error:
            run.status, run.failed, run.error = error.http, True, f"{error.reason}: {error.message}"
            raise
        except (asyncio.CancelledError, GeneratorExit):
            run.status, run.failed, run.error = CLIENT_GONE, True, "CANCELLED: The caller went away."
            raise
        except BaseException:
            run.status, run.failed, run.error = 500, True, "INTERNAL: Something went wrong inside the mesh."
            raise
        finally:
            run.duration_s = time.perf_counter() - began
            self._recorder.add(run)

    async def _begin(self, route: Route, run: Run, data: bytes, limit_s: float, upload: Upload | None) -> Exchange:
        parent = telemetry.current_context()
        sampled = parent if parent.is_valid and parent.trace_flags.sampled else None
        at_most_s = limit_s if limit_s < route.timeout_s else math.inf
        exchange = await self._dispatcher.begin(
            route, run, data, upload=upload, limit_s=limit_s, at_most_s=at_most_s, parent=sampled
        )
        run.status = exchange.connection.status
        if exchange.head.fn_error:
            run.failed, run.error = True, "HANDLER_ERROR: The handler raised an error."
        elif run.status >= 500:
            run.failed, run.error = True, f"STATUS_{run.status}: The function answered {run.status}."
        return exchange

    async def _whole(self, exchange: Exchange, run: Run) -> bytes:
        pieces: list[bytes] = []
        while piece := await exchange.connection.read():
            pieces.append(piece)
            run.response_bytes += len(piece)
            if run.response_bytes > self._limits.answer_bytes:
                raise ResourceExhausted(
                    "ANSWER_TOO_LARGE", "The function's answer is too large for Invoke; use InvokeStream."
                )
        return b"".join(pieces)

    def _answer(self, run: Run, headers: Iterable[tuple[str, str]] = ()) -> pb.InvokeResponse:
        answer = pb.InvokeResponse(
            status_code=run.status,
            execution=f"{run.function_name}/executions/{run.uid}",
            trace_id=run.trace_id,
        )
        for name, value in headers:
            answer.headers.add(name=name, value=value)
        if run.duration_s:
            answer.duration.CopyFrom(_duration(run.duration_s))
        return answer


def _span(route: Route) -> AbstractContextManager[Span]:
    return telemetry.span(f"invoke {route.display_name}", workspace=route.workspace, function=route.uid)


def _limit_s(route: Route, request: pb.InvokeRequest) -> float:
    limit = route.timeout_s
    if request.HasField("timeout"):
        asked = request.timeout.seconds + request.timeout.nanos / 1e9
        if asked <= 0:
            message = "timeout must be longer than zero."
            raise InvalidArgument("TIMEOUT_INVALID", message, fields={"timeout": message})
        limit = min(limit, asked)
    return max(0.001, deadline.bounded(limit) or 0.0)


def _head(route: Route) -> RequestHead:
    """The request of a direct invoke; what is not one of our runtimes gets the payload as a POST to its path."""
    return RequestHead("POST", f"/api/{route.path}" if route.foreign else DIRECT_TARGET, "fnmesh")


def _extra(run: Run, limit_s: float, content_type: str = "") -> list[str]:
    traceparent = telemetry.format_traceparent(telemetry.current_context())
    return [
        f"content-type: {content_type or 'application/json'}",
        f"traceparent: {traceparent or f'00-{run.trace_id}-{run.trace_id[:16]}-00'}",
        f"x-fn-timeout-ms: {max(1, int(limit_s * 1000))}",
        f"x-fn-request-id: {run.uid}",
    ]


async def _payload(first: bytes, parts: AsyncIterator[pb.InvokeStreamRequest]) -> AsyncIterator[bytes]:
    yield first
    empty = not first
    async for part in parts:
        if part.WhichOneof("part") != "chunk":
            raise InvalidArgument("START_TWICE", "`start` may be sent only once, as the first message.")
        empty = empty and not part.chunk
        yield part.chunk
    if empty:
        yield b"{}"


@contextlib.asynccontextmanager
async def _moving(upload: Upload) -> AsyncIterator[None]:
    """The upload moves for as long as the context lasts; errors come out as they are, not in a group."""
    failure: MeshError | None = None
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(upload.run())
        try:
            yield
        except MeshError as error:
            failure = error
        finally:
            task.cancel()
    if failure is not None:
        raise failure


def to_execution(route: Route, run: Run) -> invoke_pb2.Execution:
    """The record as the API has it."""
    execution = invoke_pb2.Execution(
        name=f"{route.name}/executions/{run.uid}",
        uid=run.uid,
        revision=run.revision,
        instance=run.instance,
        trigger=invoke_pb2.Trigger.ValueType(run.trigger.value),
        duration=_duration(run.duration_s),
        queue_duration=_duration(run.queued_s),
        cold_start=run.cold_start,
        status_code=run.status,
        failed=run.failed,
        error=run.error,
        trace_id=run.trace_id,
        request_bytes=run.request_bytes,
        response_bytes=run.response_bytes,
        request_line=run.request_line,
        request_body=run.request_body,
        response_body=run.response_body,
    )
    execution.start_time.FromNanoseconds(int(run.started * 1e9))
    return execution


def _duration(seconds: float) -> duration_pb2.Duration:
    duration = duration_pb2.Duration()
    duration.FromNanoseconds(int(seconds * 1e9))
    return duration
