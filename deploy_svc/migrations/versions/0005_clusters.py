"""Functions know how they are run on a cluster, and where on clusters they may be.

Revision ID: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("functions", sa.Column("max_instances", sa.Integer, nullable=False, server_default="0"))
    op.add_column("functions", sa.Column("cluster", sa.JSON, nullable=False, server_default="{}"))
    op.create_table(
        "placements",
        sa.Column("function_uid", sa.String(32), primary_key=True),
        sa.Column("context", sa.String(255), primary_key=True),
        sa.Column("namespace", sa.String(64), primary_key=True),
    )
