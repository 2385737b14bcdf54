"""Jobs as rows, and the database's clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from invoke_svc.jobs.domain import Job, JobState, Kind, Language, ScriptTarget
from invoke_svc.jobs.tables import jobs

COLUMNS = tuple(field.name for field in fields(Job))
SHORT_COLUMNS = [jobs.c[name] for name in COLUMNS if name not in ("event", "result")]
_ENUMS = {"kind": Kind, "state": JobState, "language": Language, "target": ScriptTarget}
_NOW = {
    "sqlite": sa.text("SELECT (julianday('now') - 2440587.5) * 86400.0"),
    "postgresql": sa.text("SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision)"),
}


async def database_now(conn: AsyncConnection) -> float:
    """Seconds since the epoch by the clock that all workers share."""
    return float((await conn.execute(_NOW[conn.dialect.name])).scalar_one())


def to_row(job: Job) -> dict[str, Any]:
    """The values of a row."""
    row = {name: getattr(job, name) for name in COLUMNS}
    row["error"] = storable(job.error)
    return row


def to_job(row: Mapping[Any, Any]) -> Job:
    """The job of a row; event and result stay empty where they were not asked for."""
    values = dict(row)
    for name, kind in _ENUMS.items():
        values[name] = kind(values[name])
    for name in ("event", "result"):
        if name in values:
            values[name] = bytes(values[name])
    return Job(**values)


def storable(text: str) -> str:
    """PostgreSQL takes no NUL in text."""
    return text.replace("\0", "")[:4096]
