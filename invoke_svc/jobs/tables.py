"""The tables of jobs. Indexes hold only the rows that their queries are about, so that a long history costs nothing.

Times are seconds since the epoch by the database's clock, 0 for none.
"""

from __future__ import annotations

import sqlalchemy as sa

from invoke_svc.tables import metadata

QUEUED = sa.text("state = 2")
RUNNING = sa.text("state = 3")
NOT_DONE = sa.text("state <> 4")


def _partial(name: str, *columns: str, where: sa.TextClause) -> sa.Index:
    return sa.Index(name, *columns, sqlite_where=where, postgresql_where=where)


jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("uid", sa.String(36), primary_key=True),
    sa.Column("workspace_uid", sa.String(64), nullable=False),
    sa.Column("workspace_name", sa.String(64), nullable=False),
    sa.Column("kind", sa.SmallInteger, nullable=False),
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("function_uid", sa.String(64), nullable=False),
    sa.Column("function_name", sa.String(255), nullable=False),
    sa.Column("function_display_name", sa.String(64), nullable=False),
    sa.Column("language", sa.SmallInteger, nullable=False),
    sa.Column("target", sa.SmallInteger, nullable=False),
    sa.Column("memory_bytes", sa.BigInteger, nullable=False),
    sa.Column("timeout_s", sa.Double, nullable=False),
    sa.Column("max_attempts", sa.Integer, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("claim", sa.Integer, nullable=False),
    sa.Column("owner", sa.String(40), nullable=False),
    sa.Column("cancel", sa.Boolean, nullable=False),
    sa.Column("due", sa.Double, nullable=False),
    sa.Column("lease_until", sa.Double, nullable=False),
    sa.Column("queued_at", sa.Double, nullable=False),
    sa.Column("postponed", sa.Integer, nullable=False),
    sa.Column("exit_code", sa.Integer, nullable=True),
    sa.Column("status_code", sa.Integer, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("execution", sa.String(255), nullable=False),
    sa.Column("log_key", sa.String(255), nullable=False),
    sa.Column("code_key", sa.String(255), nullable=True),
    sa.Column("result_key", sa.String(255), nullable=False),
    sa.Column("traceparent", sa.String(64), nullable=False),
    sa.Column("request_id", sa.String(128), nullable=True),
    sa.Column("schedule_uid", sa.String(64), nullable=False),
    sa.Column("http", sa.Boolean, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("updated", sa.Double, nullable=False),
    sa.Column("started", sa.Double, nullable=False),
    sa.Column("ended", sa.Double, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    # Last: the largest ones.
    sa.Column("event", sa.LargeBinary, nullable=False),
    sa.Column("result", sa.LargeBinary, nullable=False),
    sa.Index("jobs_requests", "workspace_uid", "request_id", unique=True),
    sa.Index("jobs_code", "code_key", unique=True),
    sa.Index("jobs_newest", "created", "uid"),
    sa.Index("jobs_of_workspace", "workspace_uid", "created", "uid"),
    _partial("jobs_by_state", "state", "created", "uid", where=NOT_DONE),
    _partial("jobs_queue", "kind", "due", "uid", where=QUEUED),
    _partial("jobs_queue_of_workspace", "kind", "workspace_uid", "due", "uid", where=QUEUED),
    _partial("jobs_running", "workspace_uid", where=RUNNING),
)

# The lines of logs that are not in the blob store yet, several in a row: `sequence` is the number of the last one.
job_lines = sa.Table(
    "job_lines",
    metadata,
    sa.Column("uid", sa.String(36), primary_key=True),
    sa.Column("sequence", sa.BigInteger, primary_key=True),
    sa.Column("lines", sa.LargeBinary, nullable=False),
)

schedules = sa.Table(
    "schedules",
    metadata,
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
    sa.Index("schedules_due", "next_due"),
    sa.Index("schedules_newest", "created", "uid"),
)

# A row is the right to make the job of a time: nobody else makes another.
schedule_ticks = sa.Table(
    "schedule_ticks",
    metadata,
    sa.Column("schedule_uid", sa.String(32), primary_key=True),
    sa.Column("tick", sa.Double, primary_key=True),
    sa.Column("job_uid", sa.String(36), nullable=False),
)
