"""Builds, their events, sources, artifacts, caches, and what is to be deleted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mesh.db import UtcTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "builds",
        sa.Column("uid", sa.String(36), primary_key=True),
        sa.Column("function", sa.String(300), nullable=False),
        sa.Column("function_uid", sa.String(64), nullable=False),
        sa.Column("source_digest", sa.String(80), nullable=False),
        sa.Column("deploy", sa.Boolean, nullable=False),
        sa.Column("request_id", sa.String(64)),
        sa.Column("revision", sa.String(400), nullable=False),
        sa.Column("runtime", sa.String(16), nullable=False),
        sa.Column("target", sa.String(16), nullable=False),
        sa.Column("handler", sa.String(255), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("stage", sa.String(16)),
        sa.Column("percent", sa.Integer, nullable=False),
        sa.Column("cached", sa.Boolean, nullable=False),
        sa.Column("artifact_digest", sa.String(80)),
        sa.Column("artifact_kind", sa.String(16)),
        sa.Column("artifact_reference", sa.String(400)),
        sa.Column("artifact_size_bytes", sa.BigInteger),
        sa.Column("artifact_entry_file", sa.String(1024)),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("create_time", UtcTime, nullable=False),
        sa.Column("start_time", UtcTime),
        sa.Column("end_time", UtcTime),
        sa.Column("last_sequence", sa.BigInteger, nullable=False),
        sa.Column("trace_id", sa.String(32), nullable=False),
        sa.Column("traceparent", sa.String(64), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("pinned_digest", sa.String(80)),
        sa.Column("lease_owner", sa.String(64)),
        sa.Column("lease_until", UtcTime),
        sa.Column("reported", sa.Boolean, nullable=False),
        sa.Column("report_failures", sa.Integer, nullable=False),
        sa.Column("report_after", UtcTime),
    )
    op.create_table(
        "build_events",
        sa.Column("build_uid", sa.String(36), primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True),
        sa.Column("time", UtcTime, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
    )
    op.create_table(
        "sources",
        sa.Column("digest", sa.String(80), primary_key=True),
        sa.Column("blob_key", sa.String(400), nullable=False),
        sa.Column("filename", sa.String(255), nullable=False),
        sa.Column("is_zip", sa.Boolean, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("runtime", sa.String(16), nullable=False),
        sa.Column("entry_file", sa.String(1024), nullable=False),
        sa.Column("used_time", UtcTime, nullable=False),
        sa.Column("used_version", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "artifacts",
        sa.Column("digest", sa.String(80), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("reference", sa.String(400), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("entry_file", sa.String(1024), nullable=False),
        sa.Column("referenced", sa.Boolean, nullable=False),
        sa.Column("used_time", UtcTime, nullable=False),
        sa.Column("used_version", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "trash",
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("reference", sa.String(400), primary_key=True),
        sa.Column("put_time", UtcTime, nullable=False),
    )
    op.create_table(
        "image_caches",
        sa.Column("key", sa.String(80), primary_key=True),
        sa.Column("reference", sa.String(400), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("used_time", UtcTime, nullable=False),
    )
    op.create_index("builds_of_function", "builds", ["function_uid", "uid"])
    op.create_index("builds_open", "builds", ["reported", "state"])
    op.create_index("builds_requests", "builds", ["function_uid", "request_id"], unique=True)
