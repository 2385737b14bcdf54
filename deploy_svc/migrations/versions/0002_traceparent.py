"""Functions remember the trace of the call that decided what should run.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("functions", sa.Column("traceparent", sa.String(64), nullable=False, server_default=""))
