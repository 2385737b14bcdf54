"""Beginnings of the bodies of direct invokes.

Revision ID: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("request_body", "response_body"):
        op.add_column("executions", sa.Column(name, sa.Text, nullable=False, server_default=""))
