"""Secrets of functions, each encrypted in a row of its own."""

import sqlalchemy as sa
from alembic import op

from mesh.db import UtcTime

revision = "v0004"
down_revision = "v0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the table; functions of before have no secrets."""
    op.create_table(
        "secrets",
        sa.Column("function_uid", sa.String(32), primary_key=True),
        sa.Column(
            "key",
            sa.String(128).with_variant(sa.String(128, collation="C"), "postgresql"),
            primary_key=True,
        ),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.Column("set_time", UtcTime, nullable=False),
    )
