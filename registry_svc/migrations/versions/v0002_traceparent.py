"""Functions remember the trace of the call that decided what should run."""

import sqlalchemy as sa
from alembic import op

revision = "v0002"
down_revision = "v0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column; functions of before have no trace."""
    op.add_column("functions", sa.Column("traceparent", sa.String(64), nullable=False, server_default=""))
