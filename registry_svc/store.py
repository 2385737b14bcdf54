"""Workspaces, functions and revisions in the tables. All calls take the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from mesh.db import next_version
from mesh.secrets_key import EnvCipher
from registry_svc.domain import (
    Access,
    Artifact,
    ArtifactKind,
    Cluster,
    DeploymentState,
    EventFormat,
    Function,
    Limits,
    Revision,
    RevisionState,
    RunSettings,
    Runtime,
    Scaling,
    Spec,
    Target,
    Workspace,
    next_number,
)
from registry_svc.tables import functions, live, numbers, revisions, workspaces

Row = Any  # a row of SQLAlchemy, whose columns it gives as attributes


class WorkspaceStore:
    """The table of workspaces."""

    async def find(self, conn: AsyncConnection, reference: str) -> Workspace | None:
        """The workspace with that identifier (`ws-...`) or display name."""
        column = workspaces.c.uid if reference.startswith("ws-") else workspaces.c.display_name
        row = (await conn.execute(sa.select(workspaces).where(column == reference))).one_or_none()
        return None if row is None else Workspace(**row._mapping)

    async def page(self, conn: AsyncConnection, *, only_uid: str, after: str, limit: int) -> list[Workspace]:
        """Workspaces by name; just one where `only_uid` is given."""
        query = sa.select(workspaces).where(workspaces.c.display_name > after)
        if only_uid:
            query = query.where(workspaces.c.uid == only_uid)
        rows = await conn.execute(query.order_by(workspaces.c.display_name).limit(limit))
        return [Workspace(**row._mapping) for row in rows]

    async def insert(self, conn: AsyncConnection, workspace: Workspace) -> None:
        """Adds a workspace."""
        await conn.execute(workspaces.insert().values(**asdict(workspace)))

    async def update(self, conn: AsyncConnection, workspace: Workspace) -> None:
        """Replaces a workspace."""
        await conn.execute(workspaces.update().where(workspaces.c.uid == workspace.uid).values(**asdict(workspace)))

    async def delete(self, conn: AsyncConnection, uid: str) -> None:
        """Removes a workspace."""
        await conn.execute(workspaces.delete().where(workspaces.c.uid == uid))

    async def display_names(self, conn: AsyncConnection, uids: Sequence[str]) -> dict[str, str]:
        """Display names by identifier; without those that are gone."""
        query = sa.select(workspaces.c.uid, workspaces.c.display_name).where(workspaces.c.uid.in_(set(uids)))
        return {row.uid: row.display_name for row in await conn.execute(query)}


class FunctionStore:
    """The tables of functions and revisions, env encrypted."""

    def __init__(self, cipher: EnvCipher) -> None:
        self._cipher = cipher

    async def find(self, conn: AsyncConnection, reference: str, workspace_uid: str | None = None) -> Function | None:
        """The function, not deleted, with that identifier (`fn-...`), or display name in the workspace."""
        if reference.startswith("fn-"):
            query = sa.select(functions).where(live, functions.c.uid == reference)
        else:
            query = sa.select(functions).where(live, functions.c.display_name == reference)
        if workspace_uid is not None:
            query = query.where(functions.c.workspace_uid == workspace_uid)
        row = (await conn.execute(query)).one_or_none()
        return None if row is None else self._function(row)

    async def count_in(self, conn: AsyncConnection, workspace_uids: Sequence[str]) -> dict[str, int]:
        """How many functions, not deleted, each of these workspaces has; without those that have none."""
        of = functions.c.workspace_uid
        query = sa.select(of, sa.func.count()).where(live, of.in_(set(workspace_uids))).group_by(of)
        return {uid: int(count) for uid, count in await conn.execute(query)}

    async def at_path(self, conn: AsyncConnection, path: str) -> list[Function]:
        """All functions, not deleted, with exactly that path."""
        rows = await conn.execute(sa.select(functions).where(live, functions.c.path == path))
        return [self._function(row) for row in rows]

    async def take_number(self, conn: AsyncConnection, workspace_uid: str) -> int:
        """The next number of a workspace that numbers its functions."""
        query = sa.select(numbers.c.last).where(numbers.c.workspace_uid == workspace_uid)
        number = next_number((await conn.execute(query)).scalar_one())
        await conn.execute(numbers.update().where(numbers.c.workspace_uid == workspace_uid).values(last=number))
        return number

    async def page(
        self,
        conn: AsyncConnection,
        *,
        workspace_uid: str | None,
        after: tuple[str, str],
        limit: int,
        number: int = 0,
    ) -> list[Function]:
        """Functions by name, of one workspace or all, after a (display name, identifier); those with a number."""
        key = sa.tuple_(functions.c.display_name, functions.c.uid)
        query = sa.select(functions).where(live, key > sa.tuple_(sa.literal(after[0]), sa.literal(after[1])))
        if workspace_uid is not None:
            query = query.where(functions.c.workspace_uid == workspace_uid)
        if number:
            query = query.where(functions.c.number == number)
        rows = await conn.execute(query.order_by(functions.c.display_name, functions.c.uid).limit(limit))
        return [self._function(row) for row in rows]

    async def changed_after(
        self, conn: AsyncConnection, version: int, *, with_gone: bool, limit: int
    ) -> list[Function]:
        """Functions that changed after a version, oldest change first, deleted ones too."""
        query = sa.select(functions).where(functions.c.version > version)
        if not with_gone:
            query = query.where(functions.c.gone_time.is_(None))
        rows = await conn.execute(query.order_by(functions.c.version).limit(limit))
        return [self._function(row) for row in rows]

    async def save(
        self,
        conn: AsyncConnection,
        function: Function,
        *,
        now: datetime,
        edited: bool = True,
        new: bool = False,
    ) -> Function:
        """Writes a function under the next version; returns it as it is now.

        `edited` (by a person) gives it a new etag and update time.
        """
        version = await next_version(conn)
        function = replace(function, version=version)
        if edited:
            function = replace(function, etag=str(version), update_time=now)
        values = self._values(function)
        if new:
            await conn.execute(functions.insert().values(**values))
        else:
            await conn.execute(functions.update().where(functions.c.uid == function.uid).values(**values))
        return function

    async def note_report(self, conn: AsyncConnection, uid: str, report_version: int) -> None:
        """Remembers the number of a report that said nothing new; no new version."""
        await conn.execute(functions.update().where(functions.c.uid == uid).values(report_version=report_version))

    async def mark_gone(self, conn: AsyncConnection, uid: str, now: datetime) -> None:
        """Deploy_svc has cleaned up: only the tombstone of a deleted function stays. May be repeated."""
        query = (
            functions.update()
            .where(functions.c.uid == uid, functions.c.delete_time.is_not(None), functions.c.gone_time.is_(None))
            .values(gone_time=now)
        )
        if (await conn.execute(query)).rowcount:
            await conn.execute(
                functions.update().where(functions.c.uid == uid).values(version=await next_version(conn))
            )

    async def purge(self, conn: AsyncConnection, gone_before: datetime) -> int:
        """Removes old tombstones; returns the newest version among them, 0 for none."""
        old = functions.c.gone_time < gone_before
        newest = (await conn.execute(sa.select(sa.func.max(functions.c.version)).where(old))).scalar_one()
        if newest is not None:
            await conn.execute(functions.delete().where(old))
        return int(newest or 0)

    async def revision(self, conn: AsyncConnection, function_uid: str, number: int) -> Revision | None:
        """One revision."""
        query = sa.select(revisions).where(revisions.c.function_uid == function_uid, revisions.c.number == number)
        row = (await conn.execute(query)).one_or_none()
        return None if row is None else self._revision(row)

    async def revision_of_build(self, conn: AsyncConnection, function_uid: str, build_uid: str) -> Revision | None:
        """The revision that a build makes."""
        query = sa.select(revisions).where(revisions.c.function_uid == function_uid, revisions.c.build_uid == build_uid)
        row = (await conn.execute(query)).one_or_none()
        return None if row is None else self._revision(row)

    async def newest_built(self, conn: AsyncConnection, function_uid: str) -> Revision | None:
        """The built revision with the highest number."""
        query = (
            sa.select(revisions)
            .where(revisions.c.function_uid == function_uid, revisions.c.state == RevisionState.BUILT)
            .order_by(revisions.c.number.desc())
            .limit(1)
        )
        row = (await conn.execute(query)).one_or_none()
        return None if row is None else self._revision(row)

    async def revision_page(
        self, conn: AsyncConnection, function_uid: str, *, before: int | None, limit: int
    ) -> list[Revision]:
        """Revisions of a function, newest first."""
        query = sa.select(revisions).where(revisions.c.function_uid == function_uid)
        if before is not None:
            query = query.where(revisions.c.number < before)
        rows = await conn.execute(query.order_by(revisions.c.number.desc()).limit(limit))
        return [self._revision(row) for row in rows]

    async def limits_of(
        self, conn: AsyncConnection, numbers: Sequence[tuple[str, int]]
    ) -> dict[tuple[str, int], Limits]:
        """Limits of revisions by (function, number)."""
        if not numbers:
            return {}
        key = sa.tuple_(revisions.c.function_uid, revisions.c.number)
        query = sa.select(revisions.c.function_uid, revisions.c.number, revisions.c.settings).where(
            key.in_(list(numbers))
        )
        return {(uid, number): Limits(**settings["limits"]) for uid, number, settings in await conn.execute(query)}

    async def insert_revision(self, conn: AsyncConnection, revision: Revision) -> None:
        """Adds a revision."""
        await conn.execute(revisions.insert().values(**self._revision_values(revision)))

    async def update_revision(self, conn: AsyncConnection, revision: Revision) -> None:
        """Writes state, artifact and error of a revision; the rest never changes."""
        values = self._revision_values(revision)
        kept = {name: values[name] for name in ("state", "artifact", "artifact_digest", "error")}
        await conn.execute(
            revisions.update()
            .where(revisions.c.function_uid == revision.function_uid, revisions.c.number == revision.number)
            .values(**kept)
        )

    async def drop_revisions(self, conn: AsyncConnection, function_uid: str) -> None:
        """Removes all revisions of a function."""
        await conn.execute(revisions.delete().where(revisions.c.function_uid == function_uid))

    async def live_sources(self, conn: AsyncConnection) -> list[str]:
        """Digests that a function that is not deleted refers to."""
        query = sa.select(functions.c.source_digest).where(live, functions.c.source_digest != "").distinct()
        return list((await conn.execute(query)).scalars())

    async def live_artifacts(self, conn: AsyncConnection) -> list[str]:
        """Digests that a revision of a function that is not deleted refers to."""
        query = (
            sa.select(revisions.c.artifact_digest)
            .join(functions, functions.c.uid == revisions.c.function_uid)
            .where(live, revisions.c.artifact_digest.is_not(None))
            .distinct()
        )
        return sorted((await conn.execute(query)).scalars())

    async def check_key(self, conn: AsyncConnection) -> None:
        """Raises DecryptionError where what is stored was encrypted with another key."""
        for table, bound_to in ((functions, _function_place), (revisions, _revision_place)):
            query = sa.select(table).where(sa.func.length(table.c.env) > 0).limit(1)
            row = (await conn.execute(query)).one_or_none()
            if row is not None:
                self._cipher.decrypt(row.env, bound_to(row))

    def _function(self, row: Row) -> Function:
        columns = dict(row._mapping)
        env = self._cipher.decrypt(columns.pop("env"), _function_place(row))
        spec = columns.pop("spec")
        columns.pop("gone_time")
        return Function(
            spec=Spec(
                display_name=columns.pop("display_name"),
                path=columns.pop("path"),
                description=spec["description"],
                methods=tuple(spec["methods"]),
                runtime=Runtime(spec["runtime"]),
                target=Target(spec["target"]),
                run=_run_settings(spec["run"], env),
                scaling=Scaling(**spec["scaling"]),
                access=Access(spec["access"]),
                labels=spec["labels"],
                invocation_url=spec.get("invocation_url", ""),
                cluster=_cluster(spec.get("cluster", {})),
            ),
            served=tuple(columns.pop("served")),
            deployment_state=DeploymentState(columns.pop("deployment_state")),
            **columns,
        )

    def _values(self, function: Function) -> dict[str, Any]:
        spec = function.spec
        same = {one.name: getattr(function, one.name) for one in fields(function)}
        return same | {
            "display_name": spec.display_name,
            "path": spec.path,
            "spec": {
                "description": spec.description,
                "methods": list(spec.methods),
                "runtime": int(spec.runtime),
                "target": int(spec.target),
                "run": _run_values(spec.run),
                "scaling": asdict(spec.scaling),
                "access": int(spec.access),
                "labels": dict(spec.labels),
                "invocation_url": spec.invocation_url,
                "cluster": asdict(spec.cluster),
            },
            "served": list(function.served),
            "deployment_state": int(function.deployment_state),
            "env": self._cipher.encrypt(spec.run.env, _function_place(function)),
        }

    def _revision(self, row: Row) -> Revision:
        columns = dict(row._mapping)
        columns.pop("artifact_digest")
        env = self._cipher.decrypt(columns.pop("env"), _revision_place(row))
        run = _run_settings(columns.pop("settings"), env)
        artifact = columns.pop("artifact")
        return Revision(
            **columns
            | {
                "run": run,
                "state": RevisionState(columns["state"]),
                "runtime": Runtime(columns["runtime"]),
                "target": Target(columns["target"]),
                "build_uid": columns["build_uid"] or "",
                "artifact": Artifact(**artifact | {"kind": ArtifactKind(artifact["kind"])}) if artifact else None,
            }
        )

    def _revision_values(self, revision: Revision) -> dict[str, Any]:
        artifact = revision.artifact
        return {
            "function_uid": revision.function_uid,
            "number": revision.number,
            "state": int(revision.state),
            "settings": _run_values(revision.run),
            "env": self._cipher.encrypt(revision.run.env, _revision_place(revision)),
            "code_number": revision.code_number,
            "create_time": revision.create_time,
            "runtime": int(revision.runtime),
            "target": int(revision.target),
            "artifact_digest": artifact.digest if artifact else None,
            "artifact": asdict(artifact) | {"kind": int(artifact.kind)} if artifact else sa.null(),
            "build_uid": revision.build_uid or None,
            "deploy": revision.deploy,
            "error": revision.error,
        }


def _run_settings(stored: dict[str, Any], env: dict[str, str]) -> RunSettings:
    return RunSettings(env, Limits(**stored["limits"]), stored["handler"], EventFormat(stored["event_format"]))


def _cluster(stored: dict[str, Any]) -> Cluster:
    return Cluster(**stored | {"image_pull_secrets": tuple(stored.get("image_pull_secrets", ()))})


def _run_values(run: RunSettings) -> dict[str, Any]:
    return {"limits": asdict(run.limits), "handler": run.handler, "event_format": int(run.event_format)}


def _function_place(function: Any) -> str:
    """What the env of a function is bound to."""
    return f"function:{function.uid}"


def _revision_place(revision: Any) -> str:
    """What the env of a revision is bound to."""
    return f"revision:{revision.function_uid}:{revision.number}"
