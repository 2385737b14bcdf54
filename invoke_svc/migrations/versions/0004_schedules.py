"""Schedules of jobs.

Revision ID: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "schedules",
        sa.Column("uid", sa.String(32), primary_key=True),
        sa.Column("workspace_uid", sa.String(64), nullable=False),
        sa.Column("workspace_name", sa.String(64), nullable=False),
        sa.Column("cron", sa.String(128), nullable=False),
        sa.Column("time_zone", sa.String(64), nullable=False),
        sa.Column("make_up", sa.Boolean, nullable=False),
        sa.Column("kind", sa.SmallInteger, nullable=False),
        sa.Column("function_uid", sa.String(64), nullable=False),
        sa.Column("function_name", sa.String(255), nullable=False),
        sa.Column("function_display_name", sa.String(64), nullable=False),
        sa.Column("language", sa.SmallInteger, nullable=False),
        sa.Column("target", sa.SmallInteger, nullable=False),
        sa.Column("memory_bytes", sa.BigInteger, nullable=False),
        sa.Column("timeout_s", sa.Double, nullable=False),
        sa.Column("max_attempts", sa.Integer, nullable=False),
        sa.Column("next_due", sa.Double, nullable=False),
        sa.Column("last_tick", sa.Double, nullable=False),
        sa.Column("last_job", sa.String(36), nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("event", sa.LargeBinary, nullable=False),
        sa.Column("code", sa.LargeBinary, nullable=False),
    )
    op.create_index("schedules_due", "schedules", ["next_due"])
    op.create_index("schedules_newest", "schedules", ["created", "uid"])
    op.create_table(
        "schedule_ticks",
        sa.Column("schedule_uid", sa.String(32), primary_key=True),
        sa.Column("tick", sa.Double, primary_key=True),
        sa.Column("job_uid", sa.String(36), nullable=False),
    )
