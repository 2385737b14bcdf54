"""Jobs.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    text = {name: sa.Column(name, sa.String(size), nullable=False) for name, size in _TEXTS.items()}
    op.create_table(
        "jobs",
        sa.Column("uid", sa.String(36), primary_key=True),
        text["workspace_uid"],
        text["workspace_name"],
        sa.Column("kind", sa.SmallInteger, nullable=False),
        sa.Column("state", sa.SmallInteger, nullable=False),
        text["function_uid"],
        text["function_name"],
        text["function_display_name"],
        sa.Column("language", sa.SmallInteger, nullable=False),
        sa.Column("target", sa.SmallInteger, nullable=False),
        sa.Column("memory_bytes", sa.BigInteger, nullable=False),
        sa.Column("timeout_s", sa.Double, nullable=False),
        sa.Column("max_attempts", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("claim", sa.Integer, nullable=False),
        text["owner"],
        sa.Column("cancel", sa.Boolean, nullable=False),
        sa.Column("due", sa.Double, nullable=False),
        sa.Column("lease_until", sa.Double, nullable=False),
        sa.Column("queued_at", sa.Double, nullable=False),
        sa.Column("postponed", sa.Integer, nullable=False),
        sa.Column("exit_code", sa.Integer, nullable=True),
        sa.Column("status_code", sa.Integer, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        text["execution"],
        text["log_key"],
        sa.Column("code_key", sa.String(255), nullable=True),
        text["result_key"],
        text["traceparent"],
        sa.Column("request_id", sa.String(128), nullable=True),
        text["schedule_uid"],
        sa.Column("http", sa.Boolean, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("updated", sa.Double, nullable=False),
        sa.Column("started", sa.Double, nullable=False),
        sa.Column("ended", sa.Double, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("event", sa.LargeBinary, nullable=False),
        sa.Column("result", sa.LargeBinary, nullable=False),
    )
    op.create_index("jobs_requests", "jobs", ["workspace_uid", "request_id"], unique=True)
    op.create_index("jobs_code", "jobs", ["code_key"], unique=True)
    op.create_index("jobs_newest", "jobs", ["created", "uid"])
    op.create_index("jobs_of_workspace", "jobs", ["workspace_uid", "created", "uid"])
    for name, columns, where in (
        ("jobs_by_state", ["state", "created", "uid"], "state <> 4"),
        ("jobs_queue", ["kind", "due", "uid"], "state = 2"),
        ("jobs_queue_of_workspace", ["kind", "workspace_uid", "due", "uid"], "state = 2"),
        ("jobs_running", ["workspace_uid"], "state = 3"),
    ):
        op.create_index(name, "jobs", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
    op.create_table(
        "job_lines",
        sa.Column("uid", sa.String(36), primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True),
        sa.Column("lines", sa.LargeBinary, nullable=False),
    )


_TEXTS = {
    "workspace_uid": 64,
    "workspace_name": 64,
    "function_uid": 64,
    "function_name": 255,
    "function_display_name": 64,
    "owner": 40,
    "execution": 255,
    "log_key": 255,
    "result_key": 255,
    "traceparent": 64,
    "schedule_uid": 64,
}
