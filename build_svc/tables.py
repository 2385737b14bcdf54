"""The tables of build_svc. `migrations/` makes them; a test compares the two."""

from __future__ import annotations

import sqlalchemy as sa

from mesh.db import UtcTime

metadata = sa.MetaData()

builds = sa.Table(
    "builds",
    metadata,
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
    sa.Column("push_repository", sa.String(400)),
    sa.Column("push_tag", sa.String(128)),
    sa.Column("push_username", sa.String(255)),
    sa.Column("push_password", sa.LargeBinary),
    sa.Column("push_image", sa.String(600)),
    sa.Column("push_digest", sa.String(80)),
    sa.Column("image", sa.String(400)),
    sa.Index("builds_pushed", "push_image"),
    sa.Index("builds_of_function", "function_uid", "uid"),
    sa.Index("builds_open", "reported", "state"),
    sa.Index("builds_requests", "function_uid", "request_id", unique=True),
)

events = sa.Table(
    "build_events",
    metadata,
    sa.Column("build_uid", sa.String(36), primary_key=True),
    sa.Column("sequence", sa.BigInteger, primary_key=True),
    sa.Column("time", UtcTime, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("content", sa.Text, nullable=False),
)

sources = sa.Table(
    "sources",
    metadata,
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

artifacts = sa.Table(
    "artifacts",
    metadata,
    sa.Column("digest", sa.String(80), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("reference", sa.String(400), nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("entry_file", sa.String(1024), nullable=False),
    sa.Column("referenced", sa.Boolean, nullable=False),
    sa.Column("used_time", UtcTime, nullable=False),
    sa.Column("used_version", sa.BigInteger, nullable=False),
)

trash = sa.Table(
    "trash",
    metadata,
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("reference", sa.String(400), primary_key=True),
    sa.Column("put_time", UtcTime, nullable=False),
)

caches = sa.Table(
    "image_caches",
    metadata,
    sa.Column("key", sa.String(80), primary_key=True),
    sa.Column("reference", sa.String(400), nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("used_time", UtcTime, nullable=False),
)
