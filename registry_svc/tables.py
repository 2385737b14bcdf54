"""The registry's tables as they are now; migrations/ says how they came to be."""

from __future__ import annotations

import sqlalchemy as sa

from mesh.db import UtcTime

metadata = sa.MetaData()


def _sorted_string(length: int) -> sa.types.TypeEngine[str]:
    """A string that sorts by its bytes on both databases."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


workspaces = sa.Table(
    "workspaces",
    metadata,
    sa.Column("uid", sa.String(32), primary_key=True),
    sa.Column("display_name", _sorted_string(63), nullable=False, unique=True),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("create_time", UtcTime, nullable=False),
    sa.Column("update_time", UtcTime, nullable=False),
    sa.Column("etag", sa.String(32), nullable=False),
)

functions = sa.Table(
    "functions",
    metadata,
    sa.Column("uid", sa.String(32), primary_key=True),
    sa.Column("workspace_uid", sa.String(32), nullable=False),
    sa.Column("display_name", _sorted_string(63), nullable=False),
    sa.Column("path", _sorted_string(255), nullable=False),
    sa.Column("spec", sa.JSON, nullable=False),
    sa.Column("env", sa.LargeBinary, nullable=False),
    sa.Column("create_time", UtcTime, nullable=False),
    sa.Column("update_time", UtcTime, nullable=False),
    sa.Column("etag", sa.String(32), nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False, unique=True),
    sa.Column("serving", sa.Integer, nullable=False),
    sa.Column("running", sa.Boolean, nullable=False),
    sa.Column("served", sa.JSON, nullable=False),
    sa.Column("latest_number", sa.Integer, nullable=False),
    sa.Column("settled_number", sa.Integer, nullable=False),
    sa.Column("outdated_number", sa.Integer, nullable=False),
    sa.Column("deployment_state", sa.Integer, nullable=False),
    sa.Column("deployment_message", sa.Text, nullable=False),
    sa.Column("report_version", sa.BigInteger, nullable=False),
    sa.Column("delete_time", UtcTime),
    sa.Column("gone_time", UtcTime),
    sa.Column("traceparent", sa.String(64), nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("source_digest", sa.String(80), nullable=False),
)
"""A deleted function stays as a tombstone: `delete_time`, then `gone_time` once deploy_svc has cleaned up."""

revisions = sa.Table(
    "revisions",
    metadata,
    sa.Column("function_uid", sa.String(32), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("state", sa.Integer, nullable=False),
    sa.Column("settings", sa.JSON, nullable=False),
    sa.Column("env", sa.LargeBinary, nullable=False),
    sa.Column("code_number", sa.Integer, nullable=False),
    sa.Column("create_time", UtcTime, nullable=False),
    sa.Column("runtime", sa.Integer, nullable=False),
    sa.Column("target", sa.Integer, nullable=False),
    sa.Column("artifact_digest", sa.String(80)),
    sa.Column("artifact", sa.JSON),
    sa.Column("build_uid", sa.String(64)),
    sa.Column("deploy", sa.Boolean, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
)

secrets = sa.Table(
    "secrets",
    metadata,
    sa.Column("function_uid", sa.String(32), primary_key=True),
    sa.Column("key", _sorted_string(128), primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Column("set_time", UtcTime, nullable=False),
)
"""A function's secrets: of the function, not of its revisions."""

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("key_id", sa.String(32), primary_key=True),
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("workspace_uid", sa.String(32), nullable=False),
    sa.Column("secret_hash", sa.LargeBinary, nullable=False),
    sa.Column("create_time", UtcTime, nullable=False),
    sa.Column("expire_time", UtcTime),
    sa.Column("revoke_time", UtcTime),
)

numbers = sa.Table(
    "numbers",
    metadata,
    sa.Column("workspace_uid", sa.String(32), primary_key=True),
    sa.Column("last", sa.BigInteger, nullable=False),
)
"""The number given last; those of deleted functions are not given again."""

requests = sa.Table(
    "requests",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("fingerprint", sa.LargeBinary, nullable=False),
    sa.Column("answer", sa.LargeBinary, nullable=False),
    sa.Column("create_time", UtcTime, nullable=False),
)
"""Answers to calls with a request_id, kept a day."""

live = functions.c.delete_time.is_(None)
"""The functions that are not deleted."""

sa.Index(
    "functions_name",
    functions.c.workspace_uid,
    functions.c.display_name,
    unique=True,
    sqlite_where=live,
    postgresql_where=live,
)
sa.Index("functions_path", functions.c.path)
sa.Index("functions_number", functions.c.number)
sa.Index("revisions_build", revisions.c.function_uid, revisions.c.build_uid, unique=True)
sa.Index("revisions_artifact", revisions.c.artifact_digest)
