"""Puts the registry together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc.aio

from fnmesh.internal.registry.v1 import registry_internal_service_pb2_grpc
from fnmesh.registry.v1 import registry_service_pb2_grpc
from mesh.auth import Authenticator
from mesh.clock import Clock, SystemClock
from mesh.fanout import Fanout
from mesh.keys import CachedKeyVerifier
from mesh.loops import run_forever
from mesh.main import StartupError
from mesh.membership import joined
from mesh.rpc_server import BoundServer, serve
from mesh.secrets_key import DecryptionError, load_cipher
from registry_svc import bootstrap, internal_service, service
from registry_svc.api_keys import ApiKeys, StoreKeyVerifier
from registry_svc.changes import Changes
from registry_svc.context import Context
from registry_svc.key_store import KeyStore
from registry_svc.repeats import Repeats
from registry_svc.secret_store import SecretStore
from registry_svc.settings import RegistrySettings
from registry_svc.store import FunctionStore, WorkspaceStore
from registry_svc.sweep import INTERVAL_S, sweep


@asynccontextmanager
async def running(
    settings: RegistrySettings, *, clock: Clock | None = None, join: bool = True
) -> AsyncIterator[BoundServer]:
    """The registry, serving for as long as the context lasts. Raises StartupError, SettingsError, OSError."""
    clock = clock or SystemClock()
    token = settings.read_token()
    cipher = load_cipher(settings.registry_secrets_key_file)
    async with AsyncExitStack() as stack:
        database = await bootstrap.open_database(settings)
        stack.push_async_callback(database.close)
        fanout = Fanout(database, others=settings.has_replicas)
        changes = Changes(lambda: fanout.tell("changes"))
        fanout.on("changes", lambda _: changes.wake())
        context = Context(
            database, cipher, clock, changes, WorkspaceStore(), FunctionStore(cipher), SecretStore(cipher),
            settings.invocation_urls,
        )  # fmt: skip
        await _check_key(context, settings)
        key_store = KeyStore()
        verifier = StoreKeyVerifier(database, key_store, clock)
        repeats = Repeats(cipher, clock)

        def register(server: grpc.aio.Server) -> None:
            registry_service_pb2_grpc.add_RegistryServiceServicer_to_server(
                service.RegistryServicer(context, ApiKeys(context, key_store), repeats), server
            )
            registry_internal_service_pb2_grpc.add_RegistryInternalServiceServicer_to_server(
                internal_service.RegistryInternalServicer(context, verifier, settings), server
            )

        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        sweeper = tasks.create_task(
            run_forever(
                lambda: sweep(context, repeats, settings.registry_tombstone_s),
                interval_s=INTERVAL_S,
                name="sweep",
            )
        )
        telling = tasks.create_task(fanout.run())
        stack.callback(lambda: [task.cancel() for task in (sweeper, telling)])
        bound = await stack.enter_async_context(
            serve(
                settings.own_address,
                register,
                public_services=(service.NAME,),
                internal_services=(internal_service.NAME,),
                auth=Authenticator(settings.auth, token, CachedKeyVerifier(verifier, ttl_s=2.0)),
                drain_s=settings.registry_drain_s,
            )
        )
        if join:
            await stack.enter_async_context(
                joined(settings.gateway_address, "registry", settings.advertised(bound.address), token=token)
            )
        yield bound


async def _check_key(context: Context, settings: RegistrySettings) -> None:
    try:
        async with context.database.read() as conn:
            await context.functions.check_key(conn)
            await context.secrets.check_key(conn)
    except DecryptionError:
        raise StartupError(
            f"{settings.registry_secrets_key_file} is not the key that the stored env values were encrypted "
            "with: bring back the right file from a backup."
        ) from None
