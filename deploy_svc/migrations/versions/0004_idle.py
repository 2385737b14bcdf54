"""Functions know how long an instance without requests is kept.

Revision ID: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("functions", sa.Column("idle_ttl_s", sa.Double, nullable=False, server_default="300"))
