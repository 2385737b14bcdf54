"""The tables of invoke_svc. The primary key is what a listing pages by; the other index is for ageing."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

executions = sa.Table(
    "executions",
    metadata,
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
    sa.Column("request_body", sa.Text, nullable=False),
    sa.Column("response_body", sa.Text, nullable=False),
    sa.Index("executions_by_age", "uid"),
)

run_counts = sa.Table(
    "run_counts",
    metadata,
    sa.Column("function_uid", sa.String(32), primary_key=True),
    sa.Column("step", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("bucket", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("runs", sa.BigInteger, nullable=False),
    sa.Column("failures", sa.BigInteger, nullable=False),
    sa.Column("duration_s", sa.Double, nullable=False),
    sa.Index("run_counts_by_age", "step"),
)
"""Runs by function, step of time and bucket of duration (stats/tally.py); they outlive the records they count."""

run_totals = sa.Table(
    "run_totals",
    metadata,
    sa.Column("function_uid", sa.String(32), primary_key=True),
    sa.Column("bucket", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("runs", sa.BigInteger, nullable=False),
    sa.Column("failures", sa.BigInteger, nullable=False),
    sa.Column("duration_s", sa.Double, nullable=False),
)
"""All runs of a function by bucket of duration (stats/totals.py), for as long as it runs now and then."""
