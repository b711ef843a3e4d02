"""Budgets and grants as data, and the number that changes with them.

Only new tables: workers of the version before go on while it runs.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=nullable)


def _time(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=nullable)


def upgrade() -> None:
    current = sa.text("removed IS NULL")
    op.create_table(
        "costguard_budgets",
        sa.Column("id", _ID, primary_key=True),
        _text("identity"),
        _text("rule"),
        _text("author"),
        _time("created"),
        _time("removed", nullable=True),
        _text("removed_by", nullable=True),
    )
    op.create_index(
        "costguard_budgets_current", "costguard_budgets", ["identity"], unique=True,
        sqlite_where=current, postgresql_where=current,
    )  # fmt: skip
    op.create_table(
        "costguard_grants",
        sa.Column("id", _ID, primary_key=True),
        _text("nonce"),
        _text("account"),
        _text("payer"),
        sa.Column("amount", sa.BigInteger, nullable=False),
        _text("unit"),
        _time("at"),
        _time("until", nullable=True),
        _text("author"),
        _text("reason"),
        _time("removed", nullable=True),
        _text("removed_by", nullable=True),
        sa.UniqueConstraint("nonce", name="costguard_grants_nonce"),
    )
    op.create_table(
        "costguard_rules",
        sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("version", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    for table in ("rules", "grants", "budgets"):
        op.drop_table(f"costguard_{table}")
