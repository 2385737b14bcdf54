"""Migrations: whether a schema is up to date, and bringing it there with Alembic.

The first is asked at every start and costs next to nothing; Alembic takes a tenth of a service's start and ten
megabytes to import, and is imported only where there is something to do.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import sqlalchemy as sa

_APPLIED = sa.text("SELECT version_num FROM alembic_version")
_ASSIGNED = re.compile(r"""^(revision|down_revision)\b[^=\n]*= *["']([^"']+)["']""", re.MULTILINE)


def is_current(conn: sa.Connection, migrations_dir: Path) -> bool:
    """Whether the schema is that of the newest of the migrations (`<dir>/versions/*.py`)."""
    if not sa.inspect(conn).has_table("alembic_version"):
        return False
    return set(conn.execute(_APPLIED).scalars()) == newest(migrations_dir) != set()


def newest(migrations_dir: Path) -> set[str]:
    """The revisions that no other one follows, read from the files without running them.

    What is written in another way than usual is not seen: then Alembic looks.
    """
    found: dict[str, set[str]] = {"revision": set(), "down_revision": set()}
    for file in (migrations_dir / "versions").glob("*.py"):
        for name, value in _ASSIGNED.findall(file.read_text()):
            found[name].add(value)
    return found["revision"] - found["down_revision"]


def upgrade(conn: sa.Connection, migrations_dir: Path, counters: sa.Table) -> None:
    """Brings the schema up to the newest one. Raises RuntimeError where the database is newer than this code."""
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    counters.create(conn, checkfirst=True)
    script = ScriptDirectory(str(migrations_dir))

    def steps(revision: Any, context: Any) -> Any:
        known = {one.revision for one in script.walk_revisions()}
        for one in (revision,) if isinstance(revision, str) else revision:
            if one not in known:
                raise RuntimeError(f"The database is newer than this version of the mesh (revision {one}).")
        return script._upgrade_revs("head", revision)

    context = MigrationContext.configure(conn, opts={"fn": steps, "render_as_batch": True})
    with Operations.context(context):
        context.run_migrations()
