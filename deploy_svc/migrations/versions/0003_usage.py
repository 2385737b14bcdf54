"""Usage of functions and targets, by minute.

Revision ID: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "function_minutes",
        sa.Column("function_uid", sa.String(32), primary_key=True),
        sa.Column("minute", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("target", sa.String(16), primary_key=True),
        sa.Column("cpus", sa.Double, nullable=False),
        sa.Column("memory_bytes", sa.BigInteger, nullable=False),
    )
    op.create_index("function_minutes_by_age", "function_minutes", ["minute"])
    op.create_table(
        "target_minutes",
        sa.Column("minute", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("target", sa.String(16), primary_key=True),
        sa.Column("cpu_percent", sa.Double, nullable=False),
        sa.Column("memory_percent", sa.Double, nullable=False),
    )
