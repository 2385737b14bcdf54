"""Functions of the default workspace have numbers, and all keep the source of their next build."""

import sqlalchemy as sa
from alembic import op

revision = "v0003"
down_revision = "v0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds them. What is there is numbered in the order in which it was made; its sources are not known."""
    op.add_column("functions", sa.Column("number", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("functions", sa.Column("source_digest", sa.String(80), nullable=False, server_default=""))
    op.create_index("functions_number", "functions", ["number"])
    numbers = op.create_table(
        "numbers",
        sa.Column("workspace_uid", sa.String(32), primary_key=True),
        sa.Column("last", sa.BigInteger, nullable=False),
    )
    functions = sa.table(
        "functions",
        sa.column("uid", sa.String),
        sa.column("workspace_uid", sa.String),
        sa.column("create_time"),
        sa.column("number", sa.BigInteger),
    )
    connection = op.get_bind()
    found = connection.execute(
        sa.select(functions.c.uid)
        .where(functions.c.workspace_uid == "ws-default")
        .order_by(functions.c.create_time, functions.c.uid)
    ).scalars()
    number = 0
    for uid in list(found):
        number += 1 if number != 1000 else 3  # 1001 and 1002 are kept for examples
        connection.execute(functions.update().where(functions.c.uid == uid).values(number=number))
    op.bulk_insert(numbers, [{"workspace_uid": "ws-default", "last": number}])
