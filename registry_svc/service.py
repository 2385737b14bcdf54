"""The public service: messages to use cases and back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.empty_pb2 import Empty

from fnmesh.registry.v1 import (
    api_key_pb2,
    function_pb2,
    registry_service_pb2_grpc,
    revision_pb2,
    workspace_pb2,
)
from fnmesh.registry.v1 import registry_service_pb2 as pb
from mesh.auth import Scope, require_scope
from mesh.names import REVISION, parse
from mesh.pages import decode_token, encode_token, page_size
from registry_svc import convert, function_secrets, masks, rollouts, rules, workspaces
from registry_svc import functions as function_cases
from registry_svc.api_keys import ApiKeys
from registry_svc.context import MAX_NUMBER, Context, check_etag, check_mask
from registry_svc.domain import Function, Spec, Workspace
from registry_svc.repeats import Repeats

NAME = "fnmesh.registry.v1.RegistryService"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LAST_TIME = (datetime(9999, 12, 31, tzinfo=UTC) - _EPOCH) // _MICROSECOND


class RegistryServicer(registry_service_pb2_grpc.RegistryServiceServicer):
    """fnmesh.registry.v1.RegistryService."""

    def __init__(self, context: Context, keys: ApiKeys, repeats: Repeats) -> None:
        self._context = context
        self._keys = keys
        self._repeats = repeats

    async def CreateWorkspace(self, request: pb.CreateWorkspaceRequest, context: Any) -> workspace_pb2.Workspace:
        raw = request.SerializeToString(deterministic=True)
        async with self._context.write() as conn:
            require_scope(Scope.DEPLOY)
            known = await self._repeats.answer(conn, "CreateWorkspace", request.request_id, raw)
            if known is not None:
                return workspace_pb2.Workspace.FromString(known)
            given = request.workspace
            made = await workspaces.create_workspace(self._context, conn, given.display_name, given.description)
            answer = convert.workspace_to_proto(made)
            await self._repeats.remember(conn, "CreateWorkspace", request.request_id, raw, answer.SerializeToString())
        return answer

    async def GetWorkspace(self, request: pb.GetWorkspaceRequest, context: Any) -> workspace_pb2.Workspace:
        async with self._context.database.read() as conn:
            workspace = await self._context.workspace(conn, request.name)
            counts = await self._context.functions.count_in(conn, [workspace.uid])
        return convert.workspace_to_proto(workspace, counts.get(workspace.uid, 0))

    async def ListWorkspaces(self, request: pb.ListWorkspacesRequest, context: Any) -> pb.ListWorkspacesResponse:
        size = page_size(request.page_size)
        position = decode_token("workspaces", request.page_token, (str,))
        async with self._context.database.read() as conn:
            rows = await workspaces.list_workspaces(
                self._context, conn, after=str(position[0]) if position else "", limit=size + 1
            )
            page = rows[:size]
            counts = await self._context.functions.count_in(conn, [row.uid for row in page])
        return pb.ListWorkspacesResponse(
            workspaces=[convert.workspace_to_proto(row, counts.get(row.uid, 0)) for row in page],
            next_page_token=encode_token("workspaces", [page[-1].display_name]) if len(rows) > size else "",
        )

    async def UpdateWorkspace(self, request: pb.UpdateWorkspaceRequest, context: Any) -> workspace_pb2.Workspace:
        given = request.workspace
        paths = list(request.update_mask.paths)
        check_mask(paths, frozenset({"display_name", "description"}))
        if not paths:
            paths = [name for name in ("display_name", "description") if getattr(given, name)]

        def change(workspace: Workspace) -> Workspace:
            return replace(workspace, **{path: getattr(given, path) for path in paths})

        async with self._context.write() as conn:
            after = await workspaces.update_workspace(self._context, conn, given.name, given.etag, change)
            counts = await self._context.functions.count_in(conn, [after.uid])
        return convert.workspace_to_proto(after, counts.get(after.uid, 0))

    async def DeleteWorkspace(self, request: pb.DeleteWorkspaceRequest, context: Any) -> Empty:
        async with self._context.write() as conn:
            await workspaces.delete_workspace(self._context, conn, request.name, request.etag)
        return Empty()

    async def CreateFunction(self, request: pb.CreateFunctionRequest, context: Any) -> function_pb2.Function:
        raw = request.SerializeToString(deterministic=True)
        async with self._context.write() as conn:
            require_scope(Scope.DEPLOY)
            known = await self._repeats.answer(conn, "CreateFunction", request.request_id, raw)
            if known is not None:
                return function_pb2.Function.FromString(known)
            spec = convert.spec_from_proto(request.function, {})
            workspace = await workspaces.find_or_create_workspace(self._context, conn, request.parent)
            made = await function_cases.create_function(
                self._context,
                conn,
                workspace,
                spec,
                source_digest=rules.source_digest(request.function.source_digest),
                number=request.number,
            )
            answer = convert.function_to_proto(made)
            await self._repeats.remember(conn, "CreateFunction", request.request_id, raw, answer.SerializeToString())
        return answer

    async def GetFunction(self, request: pb.GetFunctionRequest, context: Any) -> function_pb2.Function:
        async with self._context.database.read() as conn:
            function = await self._context.function(conn, request.name)
        if request.reveal_env:
            require_scope(Scope.ADMIN, function.workspace_uid)
        return convert.function_to_proto(function, env="revealed" if request.reveal_env else "masked")

    async def ListFunctions(self, request: pb.ListFunctionsRequest, context: Any) -> pb.ListFunctionsResponse:
        size = page_size(request.page_size)
        query = f"functions of {request.parent}"
        position = decode_token(query, request.page_token, (str, str))
        after = (str(position[0]), str(position[-1])) if position else ("", "")
        async with self._context.database.read() as conn:
            rows = await function_cases.list_functions(
                self._context, conn, request.parent, after=after, limit=size + 1, number=request.number
            )
        page = rows[:size]
        more = encode_token(query, [page[-1].spec.display_name, page[-1].uid]) if len(rows) > size else ""
        return pb.ListFunctionsResponse(
            functions=[convert.function_to_proto(row) for row in page], next_page_token=more
        )

    async def UpdateFunction(self, request: pb.UpdateFunctionRequest, context: Any) -> function_pb2.Function:
        given = request.function

        def change(function: Function) -> tuple[Spec, str]:
            current = convert.function_to_proto(function)
            message = masks.merged(current, given, request.update_mask.paths)
            spec = convert.spec_from_proto(message, function.spec.run.env)
            return spec, rules.source_digest(message.source_digest)

        async with self._context.write() as conn:
            after = await function_cases.update_function(
                self._context, conn, given.name, given.etag, change, defer_rollout=request.defer_rollout
            )
        return convert.function_to_proto(after)

    async def DeleteFunction(self, request: pb.DeleteFunctionRequest, context: Any) -> Empty:
        async with self._context.write() as conn:
            function = await self._context.function(conn, request.name)
            check_etag(request.etag, function.etag)
            await function_cases.delete_function(self._context, conn, function)
        return Empty()

    async def DeployFunction(self, request: pb.DeployFunctionRequest, context: Any) -> function_pb2.Function:
        async with self._context.write() as conn:
            after = await rollouts.deploy_function(self._context, conn, request.name, request.revision)
        return convert.function_to_proto(after)

    async def RollbackFunction(self, request: pb.RollbackFunctionRequest, context: Any) -> function_pb2.Function:
        async with self._context.write() as conn:
            after = await rollouts.rollback_function(self._context, conn, request.name, request.revision_number)
        return convert.function_to_proto(after)

    async def StopFunction(self, request: pb.StopFunctionRequest, context: Any) -> function_pb2.Function:
        async with self._context.write() as conn:
            after = await rollouts.stop_function(self._context, conn, request.name)
        return convert.function_to_proto(after)

    async def GetRevision(self, request: pb.GetRevisionRequest, context: Any) -> revision_pb2.Revision:
        workspace, reference, number = parse(REVISION, request.name)
        async with self._context.database.read() as conn:
            function = await self._context.function(conn, f"workspaces/{workspace}/functions/{reference}")
            revision = await self._context.revision(conn, function, number)
        return convert.revision_to_proto(function, revision)

    async def ListRevisions(self, request: pb.ListRevisionsRequest, context: Any) -> pb.ListRevisionsResponse:
        size = page_size(request.page_size)
        query = f"revisions of {request.parent}"
        position = decode_token(query, request.page_token, (int,))
        async with self._context.database.read() as conn:
            function = await self._context.function(conn, request.parent, field="parent")
            rows = await self._context.functions.revision_page(
                conn, function.uid, before=_clamped(position[0], MAX_NUMBER) if position else None, limit=size + 1
            )
        page = rows[:size]
        return pb.ListRevisionsResponse(
            revisions=[convert.revision_to_proto(function, row) for row in page],
            next_page_token=encode_token(query, [page[-1].number]) if len(rows) > size else "",
        )

    async def SetSecret(self, request: pb.SetSecretRequest, context: Any) -> pb.SetSecretResponse:
        async with self._context.write() as conn:
            function, secret = await function_secrets.set_secret(
                self._context, conn, request.parent, request.key, request.value
            )
        return pb.SetSecretResponse(
            secret=convert.secret_to_proto(function, secret), function=convert.function_to_proto(function)
        )

    async def ListSecrets(self, request: pb.ListSecretsRequest, context: Any) -> pb.ListSecretsResponse:
        size = page_size(request.page_size)
        query = f"secrets of {request.parent}"
        position = decode_token(query, request.page_token, (str,))
        async with self._context.database.read() as conn:
            function = await self._context.function(conn, request.parent, field="parent")
            rows = await self._context.secrets.page(
                conn, function.uid, after=str(position[0]) if position else "", limit=size + 1
            )
        page = rows[:size]
        return pb.ListSecretsResponse(
            secrets=[convert.secret_to_proto(function, row) for row in page],
            next_page_token=encode_token(query, [page[-1].key]) if len(rows) > size else "",
        )

    async def DeleteSecret(self, request: pb.DeleteSecretRequest, context: Any) -> pb.DeleteSecretResponse:
        async with self._context.write() as conn:
            function = await function_secrets.delete_secret(self._context, conn, request.name)
        return pb.DeleteSecretResponse(function=convert.function_to_proto(function))

    async def CreateApiKey(self, request: pb.CreateApiKeyRequest, context: Any) -> pb.CreateApiKeyResponse:
        given = request.api_key
        expires = convert.from_timestamp(given.expire_time) if given.HasField("expire_time") else None
        async with self._context.write() as conn:
            key, secret = await self._keys.create(
                conn, given.display_name, list(given.scopes), given.workspace, expires
            )
        return pb.CreateApiKeyResponse(api_key=convert.api_key_to_proto(key), secret=secret)

    async def ListApiKeys(self, request: pb.ListApiKeysRequest, context: Any) -> pb.ListApiKeysResponse:
        size = page_size(request.page_size)
        position = decode_token("api keys", request.page_token, (int, str))
        before = (_EPOCH + _clamped(position[0], _LAST_TIME) * _MICROSECOND, str(position[-1])) if position else None
        async with self._context.database.read() as conn:
            rows = await self._keys.page(conn, before=before, limit=size + 1)
        page = rows[:size]
        more = ""
        if len(rows) > size:
            last = page[-1]
            more = encode_token("api keys", [(last.create_time - _EPOCH) // _MICROSECOND, last.key_id])
        return pb.ListApiKeysResponse(api_keys=[convert.api_key_to_proto(row) for row in page], next_page_token=more)

    async def RevokeApiKey(self, request: pb.RevokeApiKeyRequest, context: Any) -> api_key_pb2.ApiKey:
        async with self._context.write() as conn:
            return convert.api_key_to_proto(await self._keys.revoke(conn, request.name))


def _clamped(part: str | int, most: int) -> int:
    """A number of a page token, which anybody can make up, as one that the database takes."""
    return max(0, min(int(part), most))
