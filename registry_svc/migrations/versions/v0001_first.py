"""The first tables."""

import sqlalchemy as sa
from alembic import op

from mesh.db import UtcTime

revision = "v0001"
down_revision = None
branch_labels = None
depends_on = None


def _sorted_string(length: int) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    """Makes them, with the first workspace."""
    workspaces = op.create_table(
        "workspaces",
        sa.Column("uid", sa.String(32), primary_key=True),
        sa.Column("display_name", _sorted_string(63), nullable=False, unique=True),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("create_time", UtcTime, nullable=False),
        sa.Column("update_time", UtcTime, nullable=False),
        sa.Column("etag", sa.String(32), nullable=False),
    )
    op.create_table(
        "functions",
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
    )
    live = sa.text("delete_time IS NULL")
    op.create_index(
        "functions_name",
        "functions",
        ["workspace_uid", "display_name"],
        unique=True,
        sqlite_where=live,
        postgresql_where=live,
    )
    op.create_index("functions_path", "functions", ["path"])
    op.create_table(
        "revisions",
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
    op.create_index("revisions_build", "revisions", ["function_uid", "build_uid"], unique=True)
    op.create_index("revisions_artifact", "revisions", ["artifact_digest"])
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.String(32), primary_key=True),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("workspace_uid", sa.String(32), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary, nullable=False),
        sa.Column("create_time", UtcTime, nullable=False),
        sa.Column("expire_time", UtcTime),
        sa.Column("revoke_time", UtcTime),
    )
    op.create_table(
        "requests",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("answer", sa.LargeBinary, nullable=False),
        sa.Column("create_time", UtcTime, nullable=False),
    )
    from mesh.clock import SystemClock

    now = SystemClock().now()
    op.bulk_insert(
        workspaces,
        [
            {
                "uid": "ws-default",
                "display_name": "default",
                "description": "",
                "create_time": now,
                "update_time": now,
                "etag": "0",
            }
        ],
    )
