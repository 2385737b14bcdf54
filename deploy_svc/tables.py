"""The tables of deploy_svc, as the newest migration leaves them."""

from __future__ import annotations

import sqlalchemy as sa

from mesh.db import UtcTime

metadata = sa.MetaData()

functions = sa.Table(
    "functions",
    metadata,
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
    sa.Column("traceparent", sa.String(64), nullable=False),
    sa.Column("idle_ttl_s", sa.Double, nullable=False),
    sa.Column("max_instances", sa.Integer, nullable=False),
    sa.Column("cluster", sa.JSON, nullable=False),
)
"""Desired state as last told by the registry, the deployment as last decided, and what of it was reported.

`slot` is the smallest number that no other function has. `report_number` is `deployment_version` at the last
change of what is reported; `reported_number` the one the registry acknowledged.
"""

instances = sa.Table(
    "instances",
    metadata,
    sa.Column("uid", sa.String(32), primary_key=True),
    sa.Column("function_uid", sa.String(32), nullable=False, index=True),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("target", sa.String(16), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("live", sa.Boolean, nullable=False, index=True),
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
    sa.Column("version", sa.BigInteger, nullable=False, index=True),
    sa.Column("log_position", sa.BigInteger, nullable=False),
    sa.Column("cleaned", sa.Boolean, nullable=False),
)
"""One row for each instance there is, and for a while after its end. `cleaned`: the driver holds nothing of it."""

revisions = sa.Table(
    "revisions",
    metadata,
    sa.Column("function_uid", sa.String(32), primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True),
    sa.Column("artifact", sa.String(80), nullable=False),
    sa.Column("used_at", UtcTime, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("failure_kind", sa.String(16), nullable=False),
    sa.Column("failed_at", UtcTime, nullable=True),
    sa.Column("failure_message", sa.Text, nullable=False),
)
"""What was run of each revision (its working copy is kept for them), and how often that failed lately."""

placements = sa.Table(
    "placements",
    metadata,
    sa.Column("function_uid", sa.String(32), primary_key=True),
    sa.Column("context", sa.String(255), primary_key=True),
    sa.Column("namespace", sa.String(64), primary_key=True),
)
"""Where on clusters objects of a function may be: written before the first of them is, deleted after the last."""

log_lines = sa.Table(
    "log_lines",
    metadata,
    sa.Column("function_uid", sa.String(32), primary_key=True),
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("written_at", UtcTime, nullable=False, index=True),
    sa.Column("stream", sa.String(8), nullable=False),
    sa.Column("instance", sa.String(32), nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("trace_id", sa.String(32), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("bytes", sa.Integer, nullable=False),
    sa.Index("log_lines_by_trace", "function_uid", "trace_id"),
)

cursors = sa.Table(
    "cursors",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
)
"""How far other services' changes have been taken over."""

function_minutes = sa.Table(
    "function_minutes",
    metadata,
    sa.Column("function_uid", sa.String(32), primary_key=True),
    sa.Column("minute", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("target", sa.String(16), primary_key=True),
    sa.Column("cpus", sa.Double, nullable=False),
    sa.Column("memory_bytes", sa.BigInteger, nullable=False),
    sa.Index("function_minutes_by_age", "minute"),
)
"""What the instances of a function used within a minute (its start in seconds since the epoch / 60), the mean."""

target_minutes = sa.Table(
    "target_minutes",
    metadata,
    sa.Column("minute", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("target", sa.String(16), primary_key=True),
    sa.Column("cpu_percent", sa.Double, nullable=False),
    sa.Column("memory_percent", sa.Double, nullable=False),
)
"""The same of all instances of a target, in percent of the machine's; also of minutes without any."""
