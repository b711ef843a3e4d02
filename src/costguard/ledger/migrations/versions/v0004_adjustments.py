"""Corrections of what calls cost, and who made them.

A new table, and columns that what was written before does not need: workers of the version before go on while it runs.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def upgrade() -> None:
    op.add_column("costguard_entries", sa.Column("adjusts", sa.LargeBinary(16), nullable=True))
    op.add_column("costguard_entries", sa.Column("covers", sa.BigInteger, nullable=True))
    op.create_table(
        "costguard_audit",
        sa.Column("id", _ID, primary_key=True),
        _text("nonce"),
        sa.Column("at", sa.BigInteger, nullable=False),
        _text("author"),
        _text("action"),
        _text("reason"),
        _text("details"),
        sa.UniqueConstraint("nonce", name="costguard_audit_nonce"),
    )


def downgrade() -> None:
    op.drop_table("costguard_audit")
    for column in ("covers", "adjusts"):
        op.drop_column("costguard_entries", column)
