"""Reserve and settle in one round trip for limits in tokens and calls too, on PostgreSQL.

The functions are replaced by ones that also do what they did: workers of the version before go on while it runs.
"""

from __future__ import annotations

from alembic import op

from costguard.ledger.migrations import functions_0001, functions_0003

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for function in functions_0003.FUNCTIONS:
            op.execute(function)


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for function in functions_0001.FUNCTIONS:
            op.execute(function.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))
