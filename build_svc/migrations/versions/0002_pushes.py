"""Where builds are pushed to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("builds", sa.Column("push_repository", sa.String(400)))
    op.add_column("builds", sa.Column("push_tag", sa.String(128)))
    op.add_column("builds", sa.Column("push_username", sa.String(255)))
    op.add_column("builds", sa.Column("push_password", sa.LargeBinary))
    op.add_column("builds", sa.Column("push_image", sa.String(600)))
    op.add_column("builds", sa.Column("push_digest", sa.String(80)))
    op.create_index("builds_pushed", "builds", ["push_image"])
