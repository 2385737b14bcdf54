"""The first tables.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op

from mesh.db import UtcTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "functions",
        sa.Column("uid", sa.String(32), primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("running", sa.Boolean, nullable=False),
        sa.Column("min_instances", sa.Integer, nullable=False),
        sa.Column("target", sa.String(16), nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("last_ready_revision", sa.Integer, nullable=False),
        sa.Column("deployment_version", sa.BigInteger, nullable=False),
        sa.Column("changed_at", UtcTime, nullable=True),
        sa.Column("slot", sa.Integer, nullable=False, unique=True),
        sa.Column("log_sequence", sa.BigInteger, nullable=False),
        sa.Column("report_number", sa.BigInteger, nullable=False),
        sa.Column("reported_number", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "instances",
        sa.Column("uid", sa.String(32), primary_key=True),
        sa.Column("function_uid", sa.String(32), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("target", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("live", sa.Boolean, nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("artifact", sa.String(80), nullable=False),
        sa.Column("handle", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("concurrency", sa.Integer, nullable=False),
        sa.Column("timeout_ms", sa.BigInteger, nullable=False),
        sa.Column("ready_at", UtcTime, nullable=True),
        sa.Column("draining_at", UtcTime, nullable=True),
        sa.Column("drain_deadline", UtcTime, nullable=True),
        sa.Column("ended_at", UtcTime, nullable=True),
        sa.Column("retired", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("log_position", sa.BigInteger, nullable=False),
        sa.Column("cleaned", sa.Boolean, nullable=False),
    )
    op.create_index("ix_instances_function_uid", "instances", ["function_uid"])
    op.create_index("ix_instances_live", "instances", ["live"])
    op.create_index("ix_instances_version", "instances", ["version"])
    op.create_table(
        "revisions",
        sa.Column("function_uid", sa.String(32), primary_key=True),
        sa.Column("revision", sa.Integer, primary_key=True),
        sa.Column("artifact", sa.String(80), nullable=False),
        sa.Column("used_at", UtcTime, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("failure_kind", sa.String(16), nullable=False),
        sa.Column("failed_at", UtcTime, nullable=True),
        sa.Column("failure_message", sa.Text, nullable=False),
    )
    op.create_table(
        "log_lines",
        sa.Column("function_uid", sa.String(32), primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("written_at", UtcTime, nullable=False),
        sa.Column("stream", sa.String(8), nullable=False),
        sa.Column("instance", sa.String(32), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("trace_id", sa.String(32), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("bytes", sa.Integer, nullable=False),
    )
    op.create_index("ix_log_lines_written_at", "log_lines", ["written_at"])
    op.create_index("log_lines_by_trace", "log_lines", ["function_uid", "trace_id"])
    op.create_table(
        "cursors",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    for name in ("functions", "instances", "revisions", "log_lines", "cursors"):
        op.drop_table(name)
