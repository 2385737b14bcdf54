"""Execution records."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "executions",
        sa.Column("function_uid", sa.String(32), primary_key=True),
        sa.Column("uid", sa.String(30), primary_key=True),
        sa.Column("trigger", sa.SmallInteger, nullable=False),
        sa.Column("started", sa.Double, nullable=False),
        sa.Column("trace_id", sa.String(32), nullable=False),
        sa.Column("request_line", sa.Text, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("instance", sa.String(64), nullable=False),
        sa.Column("queued_s", sa.Double, nullable=False),
        sa.Column("duration_s", sa.Double, nullable=False),
        sa.Column("cold_start", sa.Boolean, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("failed", sa.Boolean, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("request_bytes", sa.BigInteger, nullable=False),
        sa.Column("response_bytes", sa.BigInteger, nullable=False),
    )
    op.create_index("executions_by_age", "executions", ["uid"])
