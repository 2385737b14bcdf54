"""Wires the gateway together: the only place that constructs its parts."""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc.aio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as otlp_grpc

from fnmesh.internal.gateway.v1 import membership_service_pb2_grpc as membership_grpc
from fnmesh.internal.gateway.v1 import span_service_pb2_grpc as span_grpc
from fnmesh.trace.v1 import trace_service_pb2_grpc as trace_grpc
from gateway.domain import Members
from gateway.envoy import admin, resources
from gateway.envoy.ads import ADS_METHOD, ADS_SERVICE, AdsServer
from gateway.envoy.book import Book
from gateway.envoy.compiled import compiled
from gateway.membership import Roster
from gateway.peers import Peers
from gateway.reflection import API_SERVICES, AggregatedHealth, load_descriptors
from gateway.rest.caller import Channels
from gateway.rest.facade import rest_facade
from gateway.rest.server import serving
from gateway.service import MembershipServicer, TraceServicer
from gateway.settings import GatewaySettings
from gateway.telemetry.all_spans import SERVICE_NAME as SPAN_SERVICE
from gateway.telemetry.all_spans import AllSpans, SpanServicer
from gateway.telemetry.receiver import OTLP_METHOD, OTLP_SERVICE, OtlpReceiver
from gateway.telemetry.sampling import SamplingLoop
from gateway.telemetry.store import TraceStore
from mesh.auth import Authenticator
from mesh.clock import SystemClock
from mesh.keys import CachedKeyVerifier, RemoteKeyVerifier
from mesh.loops import run_forever
from mesh.rpc_client import open_channel
from mesh.rpc_server import serve

_MEMBERSHIP_SERVICE = "fnmesh.internal.gateway.v1.MembershipService"


@asynccontextmanager
async def app(settings: GatewaySettings) -> AsyncIterator[None]:
    """The gateway, ready when entered. Envoy is told nothing before the services are there (or time is over)."""
    token = settings.read_token()
    book = Book()
    health = AggregatedHealth()
    store = TraceStore(max_spans=settings.gateway_trace_spans, max_age_s=settings.gateway_trace_age_s)
    spec = settings.envoy_spec()
    collector = f"{spec.collector.host}:{spec.collector.port}" if spec.collector else ""
    envoy = await compiled(spec, settings.envoy_cache)
    if settings.gateway_bootstrap_file is not None:
        envoy.write_bootstrap(settings.gateway_bootstrap_file)
    book.put(*envoy.resources, resources.sampling(1.0))
    peers = Peers(settings.gateway_address, token)
    roster = Roster(Members(), book, peers)
    await health.update(roster.missing())
    load_descriptors()

    def register(server: grpc.aio.Server) -> None:
        AdsServer(book).register(server)
        membership_grpc.add_MembershipServiceServicer_to_server(MembershipServicer(roster, health), server)
        spans = AllSpans(store, peers)
        trace_grpc.add_TraceServiceServicer_to_server(TraceServicer(spans, collector), server)
        span_grpc.add_SpanServiceServicer_to_server(SpanServicer(store), server)
        otlp_grpc.add_TraceServiceServicer_to_server(  # type: ignore[no-untyped-call]  # no types there
            OtlpReceiver(store), server
        )

    sampling = SamplingLoop(
        lambda: admin.requests_total(settings.gateway_admin_socket),
        lambda share: book.put(resources.sampling(share)),
        rate=settings.trace_rate,
        least=settings.trace_share,
    )
    async with AsyncExitStack() as stack:
        verifier = None
        if settings.auth == "keys":
            registry = await stack.enter_async_context(open_channel(settings.registry_address, token=token))
            verifier = CachedKeyVerifier(RemoteKeyVerifier(registry))
        auth = Authenticator(settings.auth, token, verifier)
        bound = await stack.enter_async_context(
            serve(
                settings.own_address,
                register,
                public_services=API_SERVICES,
                internal_services=(ADS_SERVICE, OTLP_SERVICE, _MEMBERSHIP_SERVICE, SPAN_SERVICE),
                auth=auth,
                lean_methods=frozenset({OTLP_METHOD}),
                long_methods=frozenset({ADS_METHOD}),
                drain_s=3.0,
            )
        )
        channels = Channels(
            *[
                await stack.enter_async_context(open_channel(address))
                for address in (
                    settings.registry_address,
                    settings.build_address,
                    settings.deploy_address,
                    settings.invoke_address,
                )
            ]
        )
        facade = rest_facade(
            importlib.metadata.version("fnmesh"),
            roster.missing,
            channels,
            auth=auth,
            origins=spec.allowed_origins,
            observing=settings.observing(SystemClock()),
            blob_url=settings.blob_url,
            namespaces=settings.namespaces,
        )
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        loops = [
            tasks.create_task(roster.release_when_complete(settings.gateway_hold_s)),
            tasks.create_task(run_forever(sampling.step, interval_s=1.0, name="sampling")),
        ]
        serving_facade = serving(facade, settings.gateway_rest_listen or settings.gateway_rest_address)
        try:
            if peers.exist:  # another one answers until this one knows the mesh

                async def once_known() -> None:
                    await book.until_released()
                    await health.attach(bound)  # until here all services are said to be there
                    async with serving_facade:
                        await asyncio.Event().wait()

                loops.append(tasks.create_task(once_known()))
                yield
            else:
                await health.attach(bound)
                async with serving_facade:
                    yield
        finally:
            for loop in loops:
                loop.cancel()
